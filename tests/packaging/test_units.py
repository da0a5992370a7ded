"""The units of systemd say the same as the program that they run."""

import subprocess
from pathlib import Path

import pytest

from agent.cli.capture import capture
from agent.cli.common import EX_CONFIG
from agent.config.tables import Ledger
from collectors.hep.config import HepConfig
from collectors.io.datagrams import RECEIVE_BUFFER_BYTES
from collectors.sip.kind import SipConfig

UNITS = Path(__file__).resolve().parents[2] / "packaging/systemd"


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


SERVICE = settings("pegcount.service")
SOCKET = settings("pegcount-hep.socket")
CAPTURE = settings("pegcount-capture.service")


def test_a_wrong_configuration_is_the_exit_status_that_systemd_does_not_restart() -> None:
    assert SERVICE["Restart"] == ["always"]
    assert SERVICE["RestartPreventExitStatus"] == [str(EX_CONFIG)]


def test_the_ledger_lies_where_the_service_may_write() -> None:
    assert Ledger().path.startswith(f"/var/lib/{SERVICE['StateDirectory'][0]}/")


def test_the_socket_is_the_one_that_a_hep_source_would_open_itself() -> None:
    assert SOCKET["ListenDatagram"] == [HepConfig().listen]
    assert SOCKET["ReceiveBuffer"] == [f"{RECEIVE_BUFFER_BYTES >> 20}M"]


def test_the_capture_service_makes_the_socket_that_a_live_source_asks_at_and_can_do_nothing_else() -> None:
    assert SipConfig().capture_socket.startswith(f"/run/{CAPTURE['RuntimeDirectory'][0]}/")
    assert CAPTURE["CapabilityBoundingSet"] == CAPTURE["AmbientCapabilities"] == ["CAP_NET_RAW"]
    assert CAPTURE["Group"] == SERVICE["Group"]
    assert CAPTURE["User"] != SERVICE["User"]
    assert CAPTURE["RestartPreventExitStatus"] == [str(EX_CONFIG)]
    assert SipConfig().buffer_mb + 64 <= int(CAPTURE["MemoryMax"][0].removesuffix("M"))


def test_the_capture_service_lets_the_agents_user_in_unless_it_is_told_another() -> None:
    [option] = [one for one in capture.params if one.name == "agent_user"]
    assert [option.default] == SERVICE["User"]


def test_crashes_never_come_so_fast_that_systemd_gives_up() -> None:
    limit_s, starts = int(SERVICE["StartLimitIntervalSec"][0]), int(SERVICE["StartLimitBurst"][0])
    assert limit_s / int(SERVICE["RestartSec"][0]) <= starts


def test_every_line_is_one_that_systemd_knows(tmp_path: Path) -> None:
    """systemd-analyze looks for the program too, so it gets one that is there."""
    for unit in ("pegcount.service", "pegcount-hep.socket", "pegcount-capture.service"):
        text = (UNITS / unit).read_text("utf-8").replace("/opt/pegcount/current/bin/pegcount", "/bin/true")
        (tmp_path / unit).write_text(text)
    try:
        told = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, tmp_path.iterdir())],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    about_us = [line for line in told.stderr.splitlines() if str(tmp_path) in line or "pegcount" in line]
    assert about_us == []
    assert told.returncode == 0
