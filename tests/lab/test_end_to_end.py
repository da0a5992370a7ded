"""A real office, four agents and a receiver that are killed again and again: four independent counts of the same calls, and in
the end one result: every call is there once, as long as sipp says that it was.

Site A reads Asterisk's CDR file. Site B hears the same calls by HEP, on a socket that the test holds as systemd would. Site C
hears them on the wire, through the capture service (AF_PACKET); site D through dumpcap's ring of files.
"""

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.lab.asterisk import HEP_PASSWORD, AsteriskLab, wait_for
from tests.lab.office import CARRIER_IP, Office, PlacedCall
from tests.lab.site import CHECKOUT, PEGCOUNT, Counted, Received, counted, matched, received, write_config
from tests.lab.supervise import Killer, Supervised

pytestmark = pytest.mark.lab

CALLS = 40
KILLS = 5
PLAY_S = 45
"""The office plays for about 50 s; the killings fall into that."""
SETTLE_LIMIT_S = 60
LIVE_LIMIT_S = 20
"""Five processes start at once on two cores."""
QUIET_S = 4
"""Nothing more may come in this time after all is there."""
SEED = int(os.environ.get("PEGCOUNT_LAB_SEED", random.randrange(1_000_000)))
"""A run's killings can be had again by its seed, though not the machine's own chance."""

CDR_SITE = "aaaaaaaa-0000-4000-8000-000000000001"
HEP_SITE = "bbbbbbbb-0000-4000-8000-000000000002"
WIRE_SITE = "cccccccc-0000-4000-8000-000000000003"
DUMP_SITE = "dddddddd-0000-4000-8000-000000000004"
SITES = {CDR_SITE: "cdr", HEP_SITE: "hep", WIRE_SITE: "afpacket", DUMP_SITE: "dumpcap"}

TALK_TOLERANCE_S = {CDR_SITE: 1.0, HEP_SITE: 0.1, WIRE_SITE: 0.1, DUMP_SITE: 0.1}
"""A CDR's stamps are whole seconds; the others have the messages' own times, which sipp sees within milliseconds."""


AMENDED_LATE: dict[str, tuple[str, ...]] = {CDR_SITE: ("voicemail",)}


@dataclass(frozen=True)
class Run:
    placed: list[PlacedCall]
    events: dict[str, list[Received]]
    processes: list[Supervised]

    def calls(self, site: str) -> list[Counted]:
        return counted(self.events[site])


def free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cdr_source(lab: AsteriskLab) -> str:
    return f'name = "cdr"\nkind = "asterisk_cdr"\npath = "{lab.master_csv}"\nsettle_s = 2\n'


def wire_source(folder: Path) -> str:
    capture = f'interface = "lo"\ncapture_socket = "{folder}/capture.sock"\n'
    return f'name = "wire"\nkind = "sip"\n{capture}trunks = {{ carrier = "{CARRIER_IP}" }}\n'


def dump_source() -> str:
    return (
        f'name = "dump"\nkind = "sip"\ninterface = "lo"\nengine = "dumpcap"\ntrunks = {{ carrier = "{CARRIER_IP}" }}\n'
    )


def heard_live(folder: Path) -> bool:
    """Whether both live sources capture: the service's socket is there, and dumpcap writes its ring."""
    ring = folder / DUMP_SITE[:4] / "sources" / "dump"
    return (folder / "capture.sock").exists() and any(ring.rglob("*.pcap"))


def hep_source(hep_socket: socket.socket) -> str:
    host, port = hep_socket.getsockname()
    trunks = f'trunks = {{ carrier = "{CARRIER_IP}" }}'
    return f'name = "hep"\nkind = "hep"\nlisten = "{host}:{port}"\npassword = "{HEP_PASSWORD}"\n{trunks}\n'


@pytest.fixture(scope="module")
def run(lab: AsteriskLab, hep_socket: socket.socket, folder: Path) -> Iterator[Run]:
    store, tokens, address = folder / "received.db", folder / "tokens", f"127.0.0.1:{free_tcp_port()}"
    tokens.write_text("lab-token\n")
    sources = {
        CDR_SITE: cdr_source(lab),
        HEP_SITE: hep_source(hep_socket),
        WIRE_SITE: wire_source(folder),
        DUMP_SITE: dump_source(),
    }
    handed = {HEP_SITE: {"hep": hep_socket}}
    here = {"PYTHONPATH": str(CHECKOUT)}
    print(f"PEGCOUNT_LAB_SEED={SEED}; logs in {folder}")
    with ExitStack() as running:
        office = running.enter_context(Office(lab, folder))
        command = [*PEGCOUNT, "receiver", "--listen", address, "--store", str(store), "--token-file", str(tokens)]
        processes = [Supervised("receiver", command, log=folder / "receiver.log", environment=here)]
        for site, source in sources.items():
            config = write_config(folder / site[:4], site, f"http://{address}", "lab-token", source)
            subprocess.run([*PEGCOUNT, "check", "--config", str(config)], cwd=CHECKOUT, check=True)
            command = [*PEGCOUNT, "run", "--config", str(config)]
            log = folder / f"agent-{site[:4]}.log"
            processes.append(Supervised(log.stem, command, log=log, sockets=handed.get(site), environment=here))
        capture = [
            *PEGCOUNT,
            "capture",
            "--config",
            str(folder / WIRE_SITE[:4] / "pegcount.toml"),
            "--agent-user",
            "root",
        ]
        service = running.enter_context(Supervised("capture", capture, log=folder / "capture.log", environment=here))
        for process in processes:
            running.enter_context(process)
        wait_for(lambda: heard_live(folder), LIVE_LIMIT_S, f"nothing captures; logs in {folder}")
        with Killer(processes, times=KILLS, over_s=PLAY_S, seed=SEED):
            placed = office.play(CALLS)
        (folder / "placed.json").write_bytes(msgspec.json.format(msgspec.json.encode(placed)))

        def all_there() -> bool:
            return all(len(counted(received(store, site))) >= len(placed) for site in sources)

        settled_by = time.monotonic() + SETTLE_LIMIT_S
        while not all_there() and time.monotonic() < settled_by:
            time.sleep(0.5)
        time.sleep(QUIET_S)
        for process in (*reversed(processes), service):
            process.stop()
        assert service.surprises == []
        yield Run(placed, {site: received(store, site) for site in sources}, processes)


every_site = pytest.mark.parametrize("site", SITES, ids=SITES.values())


def test_all_were_killed_and_none_ended_by_itself(run: Run) -> None:
    assert [process.kills for process in run.processes] == [KILLS] * (1 + len(SITES))
    assert [(process.name, process.surprises) for process in run.processes if process.surprises] == []


def test_enough_calls_were_placed(run: Run) -> None:
    assert len(run.placed) >= CALLS
    assert len({call.kind for call in run.placed}) == 10


@every_site
def test_every_event_is_there_once_and_in_order(run: Run, site: str) -> None:
    events = run.events[site]
    assert len({event.epoch for event in events}) == 1
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len({event.body["id"] for event in events}) == len(events)
    assert [event for event in events if event.status != 0] == []


@every_site
def test_every_call_placed_is_one_call_and_there_are_no_others(run: Run, site: str) -> None:
    pairs = matched(run.placed, run.calls(site))
    assert [f"{truth.kind} {truth.call_id}" for truth, call in pairs if call is None] == []
    assert [(truth, call) for truth, call in pairs if call is not None and call.calls != 1] == []
    assert sorted(str(c.told.get("caller")) for c in run.calls(site)) == sorted(call.caller for call in run.placed)


@every_site
def test_every_call_came_out_as_sipp_saw_it(run: Run, site: str) -> None:
    """A CDR does not say that the caller gave up, or was declined. And where voicemail answers, its row comes seconds after
    the one that nobody answered: by then the call has been told of, and only its minutes are amended."""
    plain = {"cancelled": "no_answer", "failed": "no_answer"} if site == CDR_SITE else {}
    wrong = [
        (truth.kind, truth.caller, truth.outcome, call.told)
        for truth, call in matched(run.placed, run.calls(site))
        if call is not None
        and truth.kind not in AMENDED_LATE.get(site, ())
        and call.told.get("outcome") != plain.get(truth.outcome, truth.outcome)
    ]
    assert wrong == []


@every_site
def test_the_minutes_of_every_call_are_those_of_sipps_clock(run: Run, site: str) -> None:
    """Seconds that were begun are billed whole (1/1), so at most one more than were spoken."""
    wrong = []
    for truth, call in matched(run.placed, run.calls(site)):
        assert call is not None
        talk_s, billed_s = float(str(call.told["talk_ms"])) / 1000, float(call.minutes) * 60
        true_s = truth.talk_ms / 1000
        if abs(talk_s - true_s) > TALK_TOLERANCE_S[site] or abs(billed_s - true_s) > 1:
            wrong.append((truth.kind, truth.caller, true_s, talk_s, billed_s))
    assert wrong == []
