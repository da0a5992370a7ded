"""Where the lab cannot run, its tests skip with the reason; on continuous integration (`CI=true`) they fail instead."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.asterisk import AsteriskLab, LabUnavailable, require
from tests.lab.office import CARRIER_IP, PHONES

HEP_BUFFER_BYTES = 8 * 1024 * 1024
SO_RCVBUFFORCE = 33
"""include/uapi/asm-generic/socket.h: beyond net.core.rmem_max, for root."""


@pytest.fixture(scope="module")
def hep_socket() -> Iterator[socket.socket]:
    """Where Asterisk sends HEP. It belongs to the test: what arrives while nobody reads waits in its buffer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        if os.geteuid() == 0:
            held.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, HEP_BUFFER_BYTES)
        yield held


@pytest.fixture(scope="module")
def lab(hep_socket: socket.socket) -> Iterator[AsteriskLab]:
    with ExitStack() as stack:
        try:
            require("sipp")
            running = stack.enter_context(AsteriskLab(PHONES, CARRIER_IP, hep_socket.getsockname()[1]))
        except LabUnavailable as reason:
            if os.environ.get("CI") == "true":
                pytest.fail(f"the lab must run here: {reason}")
            pytest.skip(str(reason))
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("office")
