"""A fresh storage of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.postgres import Cluster
from tests.uplink.receiver.storages import Place


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def postgres_url(cluster: Cluster) -> str:
    """Of an empty database."""
    return cluster.empty()


@pytest.fixture
def nats_server() -> Iterator[NatsServer]:
    """It starts in less time than it takes to clear one."""
    with NatsServer() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql", "jetstream"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A log is booked into SQLite here."""
    if request.param == "sqlite":
        return Place(str(tmp_path / "receiver.db"))
    if request.param == "postgresql":
        return Place(request.getfixturevalue("postgres_url"))
    return Place(request.getfixturevalue("nats_server").url, str(tmp_path / "books.db"))
