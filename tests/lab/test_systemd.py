"""The service under a real systemd, on a Debian 12 where it was installed as a customer would."""

import base64
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.collectors.hep.calls import beginning, end, later
from tests.collectors.sip.flows import Exchange
from tests.lab.asterisk import CACHE, LabUnavailable, only_one
from tests.lab.debian import DebianLab, require_container_tools

pytestmark = pytest.mark.lab

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG_FILE = "/etc/pegcount/pegcount.toml"
MASTER_CSV = "/var/log/asterisk/cdr-csv/Master.csv"
LEDGER = "/var/lib/pegcount/ledger.db"
DROP_IN = "/etc/systemd/system/pegcount.service.d/asterisk.conf"
SITE = """
[site]
id = "5b0e6d1c-6d4f-4c59-9a35-0d1c2b3a4f50"
provider = "example"
timezone = "UTC"
"""
TWO_SOURCES = f"""{SITE}
[[source]]
name = "hep"
kind = "hep"

[[source]]
name = "pbx"
kind = "asterisk_cdr"
path = "{MASTER_CSV}"
timezone = "UTC"
settle_s = 0
"""
LIVE = f"""{SITE}
[[source]]
name = "live"
kind = "sip"
interface = "lo"
"""
TAKEN_AWAY = "/run/systemd/system/pegcount-capture.service.d/taken-away.conf"
SEND_SIP = """
import base64, socket, sys
for line in sys.stdin:
    source, target, message = line.split()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", int(source)))
        sender.sendto(base64.b64decode(message), ("127.0.0.1", int(target)))
"""
SEND = """
import base64, socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in sys.stdin:
    sender.sendto(base64.b64decode(line), ("127.0.0.1", 9060))
"""
ONE_ROW = (
    '"","101","102","office","""Ann"" <101>","PJSIP/101-00000001","PJSIP/102-00000002","Dial","PJSIP/102,20",'
    '"2026-11-20 09:00:00","2026-11-20 09:00:04","2026-11-20 09:01:34",94,90,"ANSWERED","DOCUMENTATION",'
    '"1763629200.1",""\n'
)
"""Eighteen columns, as Asterisk writes them with `loguniqueid` and `loguserfield`: 101 calls 102, 90 s answered."""


def wheels() -> Path:
    """What an installation needs of Python packages, fetched once for these locks."""
    locks = b"".join((CHECKOUT / name).read_bytes() for name in ("requirements.lock", "requirements-dev.lock"))
    folder = CACHE / f"wheels-{hashlib.sha256(locks).hexdigest()[:16]}"
    with only_one(CACHE / "wheels.lock"):
        if not folder.exists():
            partial = folder.with_name(folder.name + ".partial")
            fetched = subprocess.run(
                [CHECKOUT / "packaging/install.sh", "--download", partial], capture_output=True, text=True, check=False
            )
            if fetched.returncode:
                raise LabUnavailable(f"the Python packages cannot be fetched: {fetched.stderr.strip()[-300:]}")
            partial.rename(folder)
    return folder


@pytest.fixture(scope="module")
def debian() -> Iterator[DebianLab]:
    """Booted, with an Asterisk's CDR folder as Debian's package makes it."""
    with ExitStack() as stack:
        try:
            require_container_tools()
            lab = stack.enter_context(DebianLab({"/media": wheels(), "/mnt": CHECKOUT}))
        except LabUnavailable as reason:
            if os.environ.get("CI") == "true":
                pytest.fail(f"the lab must run here: {reason}")
            pytest.skip(str(reason))
        lab.run("groupadd", "--system", "asterisk")
        lab.run("install", "-d", "-g", "asterisk", "-m", "0750", str(Path(MASTER_CSV).parent))
        lab.run("install", "-g", "asterisk", "-m", "0640", "/dev/null", MASTER_CSV)
        yield lab


@pytest.fixture
def service(debian: DebianLab) -> DebianLab:
    """Installed, stopped, and without a past; its configuration with both sources, the port held by systemd."""
    if debian.unit("pegcount", "LoadState") != "loaded":
        install(debian)
    debian.run("systemctl", "stop", "pegcount-hep.socket", "pegcount.service", "pegcount-capture.service")
    debian.run("systemctl", "reset-failed")
    debian.run("sh", "-c", "rm -rf /var/lib/pegcount/*")
    debian.write(CONFIG_FILE, TWO_SOURCES)
    debian.run("mkdir", "-p", str(Path(DROP_IN).parent))
    debian.write(DROP_IN, "[Service]\nSupplementaryGroups=asterisk\n")
    debian.run("systemctl", "daemon-reload")
    debian.run("systemctl", "start", "pegcount-hep.socket")
    return debian


def install(debian: DebianLab, *arguments: str) -> str:
    """The container reaches no index: the packages are handed in."""
    handed_in = ("env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/media")
    return debian.run(*handed_in, "/mnt/packaging/install.sh", *arguments).stdout


def send(debian: DebianLab, datagrams: list[bytes]) -> None:
    lines = "\n".join(base64.b64encode(datagram).decode() for datagram in datagrams)
    debian.run("/usr/bin/python3", "-c", SEND, stdin=lines)


def status(debian: DebianLab) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(debian.run("pegcount", "status", "--json", check=False).stdout)
    return answer


def source(debian: DebianLab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in status(debian)["sources"] if one["name"] == name)
    return found


def eventually(what: str, seen: Any, wanted: Any, limit_s: float = 20.0) -> None:
    """`seen()` becomes `wanted` within the limit."""
    deadline = time.monotonic() + limit_s
    while (last := seen()) != wanted:
        assert time.monotonic() < deadline, f"{what}: {last!r}, not {wanted!r}"
        time.sleep(0.3)


def main_pid(debian: DebianLab, unit: str = "pegcount") -> int:
    return int(debian.unit(unit, "MainPID"))


def process_of(debian: DebianLab, unit: str = "pegcount") -> dict[str, str]:
    """What the kernel says of the unit's main process."""
    lines = debian.run("cat", f"/proc/{main_pid(debian, unit)}/status").stdout.splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def state(debian: DebianLab, unit: str = "pegcount.service") -> str:
    return f"{debian.unit(unit, 'ActiveState')} {debian.unit(unit, 'SubState')}"


def test_it_is_active_only_after_it_said_that_it_is_ready(service: DebianLab) -> None:
    service.run("systemctl", "start", "--no-block", "pegcount")
    eventually("process", lambda: main_pid(service) > 0, True)
    service.run("systemctl", "kill", "-s", "STOP", "pegcount")  # while it still loads its modules
    time.sleep(1)
    assert state(service) == "activating start"
    service.run("systemctl", "kill", "-s", "CONT", "pegcount")
    eventually("state", lambda: state(service), "active running")
    eventually("health", lambda: status(service)["health"], "ok")
    shown = service.run("systemctl", "status", "pegcount", check=False).stdout
    assert 'Status: "' in shown
    eventually("status text", lambda: service.unit("pegcount", "StatusText"), status(service)["verdict"])


def test_it_runs_as_a_user_of_its_own_who_may_do_next_to_nothing(service: DebianLab) -> None:
    service.run("systemctl", "start", "pegcount")
    process = process_of(service)
    uid = service.run("id", "-u", "pegcount").stdout.strip()
    assert process["Uid"].split() == [uid] * 4
    assert uid != "0"
    assert int(process["CapEff"], 16) == int(process["CapBnd"], 16) == 0
    assert process["NoNewPrivs"] == "1"
    assert process["Seccomp"] == "2"
    inside = ("nsenter", "-t", str(main_pid(service)), "-m", "--")
    assert "Read-only" in service.run(*inside, "touch", "/usr/bin/x", check=False).stderr
    assert "Read-only" in service.run(*inside, "touch", CONFIG_FILE, check=False).stderr
    assert service.run("stat", "-c", "%U %a", LEDGER).stdout.strip() == "pegcount 600"
    assert service.run("stat", "-c", "%U %a", "/var/lib/pegcount").stdout.strip() == "pegcount 700"
    assert service.run("stat", "-c", "%U %G %a", CONFIG_FILE).stdout.split() == ["root", "pegcount", "640"]
    exposure = service.run("systemd-analyze", "security", "--no-pager", "pegcount.service").stdout.splitlines()[-1]
    assert "OK" in exposure, exposure  # systemd's own mark, from SAFE and OK to UNSAFE


def test_a_wrong_configuration_ends_with_78_and_is_not_started_again(service: DebianLab) -> None:
    service.run("systemctl", "stop", "pegcount-hep.socket")
    service.write(CONFIG_FILE, SITE.replace('"UTC"', '"Mars/Olympus"'))
    service.run("systemctl", "start", "pegcount", check=False)
    assert state(service) == "failed failed"
    assert service.unit("pegcount", "ExecMainStatus") == "78"
    assert "78/CONFIG" in service.run("systemctl", "status", "pegcount", check=False).stdout
    assert f'{CONFIG_FILE}:5:12: `site.timezone`: there is no time zone "Mars/Olympus"' in service.journal("pegcount")
    time.sleep(4)  # RestartSec is 2 s
    assert service.unit("pegcount", "NRestarts") == "0"
    assert not service.run("ls", "/var/lib/pegcount").stdout  # no ledger was opened


def test_datagrams_that_find_a_wrong_configuration_do_not_start_it_for_ever(service: DebianLab) -> None:
    service.write(CONFIG_FILE, SITE.replace("provider", "supplier"))
    send(service, [later(time.time())])
    eventually("socket", lambda: state(service, "pegcount-hep.socket"), "failed failed", 40)
    assert service.journal("pegcount").count("unknown key `supplier`") <= 5  # StartLimitBurst
    service.write(CONFIG_FILE, TWO_SOURCES)
    service.run("systemctl", "reset-failed", "pegcount.service")
    service.run("systemctl", "restart", "pegcount-hep.socket", "pegcount.service")
    assert state(service) == "active running"
    assert "held by the service manager" in source(service, "hep")["detail"]


def test_a_call_that_ends_while_the_agent_is_dead_is_counted(service: DebianLab) -> None:
    service.run("systemctl", "start", "pegcount")
    began = time.time() - 3600
    send(service, beginning(1, began))
    eventually("datagrams", lambda: source(service, "hep")["counters"]["datagrams"], 4)
    service.run("systemctl", "kill", "-s", "KILL", "--kill-who=main", "pegcount")
    send(service, [*end(1, began), *beginning(2, began), *end(2, began), later(began)])
    sent_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    eventually("state", lambda: state(service), "active running")
    assert int(service.unit("pegcount", "ExecMainStartTimestampMonotonic")) > sent_us  # nobody was there
    assert service.unit("pegcount", "NRestarts") == "1"
    eventually("calls", lambda: source(service, "hep")["calls"], 2)
    assert source(service, "hep")["counters"]["kernel_drops"] == 0
    read_back = f"file:{LEDGER}?mode=ro"
    rows = service.run(
        "/opt/pegcount/current/bin/python",
        "-c",
        f"import sqlite3; [print(*r) for r in sqlite3.connect({read_back!r}, uri=True).execute("
        "'SELECT caller, dialled, talk_ms, ending FROM call')]",
    ).stdout.splitlines()
    assert rows == ["101 202 61500 confirmed"] * 2


def test_a_row_that_asterisk_appends_is_counted(service: DebianLab) -> None:
    service.write(MASTER_CSV, "")
    service.run("systemctl", "start", "pegcount")
    service.run("tee", "-a", MASTER_CSV, stdin=ONE_ROW)
    eventually("calls", lambda: source(service, "pbx")["calls"], 1)
    assert source(service, "pbx")["rejects"] == 0
    events = service.run("pegcount", "status", "--json", check=False).stdout
    assert json.loads(events)["pipeline"]["events"] == 4  # call, voice.minutes, and a seat.day for 101 and for 102


def test_without_its_group_it_says_which_file_it_may_not_read(service: DebianLab) -> None:
    service.run("rm", DROP_IN)
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", "pegcount")
    eventually("state", lambda: source(service, "pbx")["state"] in ("failed", "waiting"), True)
    problem = next(one for one in status(service)["problems"] if one["about"] == "pbx")
    assert "Master.csv" in problem["text"] or "cdr-csv" in problem["text"], problem
    assert source(service, "hep")["state"] == "running"


CAP_NET_RAW = 1 << 13


def test_a_call_is_heard_live_by_a_service_that_may_capture_and_nothing_else(service: DebianLab) -> None:
    service.write(CONFIG_FILE, LIVE)
    service.run("systemctl", "start", "pegcount-capture", "pegcount")
    capture, agent = process_of(service, "pegcount-capture"), process_of(service)
    uids = [service.run("id", "-u", user).stdout.strip() for user in ("pegcount-capture", "pegcount")]
    assert [capture["Uid"].split(), agent["Uid"].split()] == [[uids[0]] * 4, [uids[1]] * 4]
    held = [int(capture[name], 16) for name in ("CapEff", "CapPrm", "CapAmb", "CapBnd")]
    assert held == [CAP_NET_RAW] * 4
    assert int(agent["CapEff"], 16) == int(agent["CapBnd"], 16) == 0
    assert capture["NoNewPrivs"] == "1"
    eventually("source", lambda: source(service, "live")["state"], "running")
    call = Exchange("live", "127.0.0.1:5070", "127.0.0.1:5060", "101", "202").talk(0, 1, 6)
    ports = ((one.src.rpartition(":")[2], one.dst.rpartition(":")[2], one.payload) for one in call)
    lines = "\n".join(f"{src} {dst} {base64.b64encode(message).decode()}" for src, dst, message in ports)
    service.run("/usr/bin/python3", "-c", SEND_SIP, stdin=lines)
    eventually("calls", lambda: source(service, "live")["calls"], 1)
    assert source(service, "live")["counters"]["messages"] == 7
    exposure = service.run("systemd-analyze", "security", "--no-pager", "pegcount-capture.service").stdout
    assert "OK" in exposure.splitlines()[-1], exposure


def test_a_capture_that_cannot_be_is_told_with_its_cause(service: DebianLab) -> None:
    def code() -> list[str]:
        return [one["code"] for one in status(service)["problems"] if one["about"] == "live"]

    service.write(CONFIG_FILE, LIVE)
    service.run("systemctl", "start", "pegcount")
    eventually("problem", code, ["capture_service_absent"])
    service.run("mkdir", "-p", str(Path(TAKEN_AWAY).parent))
    for taken_away, told in (
        ("AmbientCapabilities=", "capture_no_capability"),
        ("RestrictAddressFamilies=~AF_PACKET", "capture_unsupported"),
    ):
        service.write(TAKEN_AWAY, f"[Service]\n{taken_away}\n")
        service.run("systemctl", "daemon-reload")
        service.run("systemctl", "restart", "pegcount-capture", "pegcount")
        eventually("problem", code, [told], 60)
    service.run("rm", TAKEN_AWAY)
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "restart", "pegcount-capture")
    eventually("problem", code, [], 60)


def test_a_stop_is_clean_and_quick(service: DebianLab) -> None:
    service.run("systemctl", "start", "pegcount")
    began = time.monotonic()
    service.run("systemctl", "stop", "pegcount")
    assert time.monotonic() - began < 5
    assert service.unit("pegcount", "Result") == "success"
    assert service.unit("pegcount", "ExecMainStatus") == "0"
    assert "Traceback" not in service.journal("pegcount")


def test_an_upgrade_keeps_the_configuration_and_what_was_counted(service: DebianLab) -> None:
    service.write(MASTER_CSV, "")
    service.run("systemctl", "start", "pegcount")
    service.run("tee", "-a", MASTER_CSV, stdin=ONE_ROW)
    eventually("calls", lambda: source(service, "pbx")["calls"], 1)
    release = service.run("readlink", "/opt/pegcount/current").stdout
    assert "upgraded and restarted" in install(service)
    assert service.run("readlink", "/opt/pegcount/current").stdout != release
    assert service.run("cat", CONFIG_FILE).stdout == TWO_SOURCES
    assert source(service, "pbx")["calls"] == 1
    assert len(service.run("ls", "/opt/pegcount/releases").stdout.split()) == 2


def test_an_uninstall_keeps_ledger_and_configuration_unless_told_otherwise(service: DebianLab) -> None:
    service.run("systemctl", "start", "pegcount")
    install(service, "--uninstall")
    assert service.unit("pegcount", "LoadState") == "not-found"
    assert not service.run("sh", "-c", "ls -d /opt/pegcount /usr/local/bin/pegcount 2>/dev/null", check=False).stdout
    assert service.run("ls", LEDGER, CONFIG_FILE).returncode == 0
    install(service, "--uninstall", "--purge")
    gone = service.run("sh", "-c", "ls -d /etc/pegcount /var/lib/pegcount 2>/dev/null; id pegcount", check=False)
    assert not gone.stdout
