"""A fresh storage of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.uplink.receiver.postgres import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def postgres_url(cluster: Cluster) -> str:
    """Of an empty database."""
    return cluster.empty()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What `--store` would be given."""
    if request.param == "sqlite":
        return str(tmp_path / "receiver.db")
    return str(request.getfixturevalue("postgres_url"))
