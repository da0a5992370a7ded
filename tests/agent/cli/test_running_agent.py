"""`status` and `upload` beside a real agent and a real receiver, each a process of its own."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.agent.cli.commands import SITE, SITE_ID, free_port, pegcount, running, wait_for_page
from tests.agent.cli.test_read import ANSWERED, UNANSWERED

READ_TIMEOUT_S = 30


class Place(Struct, frozen=True):
    """The files of one site: two calls in its CDR file."""

    config: Path
    port: int
    folder: Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "Master.csv").write_text(ANSWERED + UNANSWERED)
    port = free_port()
    config = tmp_path / "pegcount.toml"
    config.write_text(
        SITE
        + f'[ledger]\npath = "{tmp_path}/ledger.db"\n[web]\nlisten = "127.0.0.1:{port}"\n'
        + f'[[source]]\nname = "pbx"\nkind = "asterisk_cdr"\npath = "{tmp_path}/Master.csv"\n'
    )
    return Place(config, port, tmp_path)


@pytest.fixture
def agent(place: Place) -> Iterator[Place]:
    with running("run", "--config", place.config) as process:
        wait_for_page(place.port, process)
        yield place
    assert process.returncode == 0


def status_json(place: Place) -> dict[str, Any]:
    snapshot: dict[str, Any] = json.loads(pegcount("status", "--json", "--config", place.config).out)
    return snapshot


def wait_for_legs(place: Place, legs: int) -> None:
    deadline = time.monotonic() + READ_TIMEOUT_S
    while (seen := status_json(place)["pipeline"]["legs"]) < legs:
        assert time.monotonic() < deadline, f"{seen} legs"
        time.sleep(0.2)


def test_status_asks_the_running_agent(agent: Place) -> None:
    wait_for_legs(agent, 2)
    done = pegcount("status", "--config", agent.config)
    assert done.status == 0, done.out + done.err
    assert done.out.startswith("Healthy. ")
    assert f"Berlin office ({SITE_ID})" in done.out
    assert "pbx (asterisk_cdr) running: 2 legs" in done.out
    snapshot = status_json(agent)
    assert (snapshot["health"], snapshot["site_id"], snapshot["sources"][0]["state"]) == ("ok", SITE_ID, "running")


def test_upload_without_a_platform_is_told(agent: Place) -> None:
    done = pegcount("upload", "--config", agent.config)
    assert done.status == 1
    assert "[uplink]" in done.out


def test_after_a_stop_status_shows_the_ledger_and_ends_with_3(place: Place) -> None:
    with running("run", "--config", place.config) as process:
        wait_for_page(place.port, process)
        wait_for_legs(place, 2)
    done = pegcount("status", "--config", place.config)
    assert done.status == 3
    assert done.out.startswith("Not running. ")
    assert "2 legs" in done.out


def test_a_terminal_that_is_closed_ends_it_in_order(place: Place) -> None:
    with running("run", "--config", place.config) as process:
        wait_for_page(place.port, process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(READ_TIMEOUT_S) == 0


def test_a_page_that_is_switched_off_leaves_the_ledgers_word(place: Place) -> None:
    place.config.write_text(place.config.read_text().replace("[web]\n", "[web]\nenabled = false\n"))
    with running("run", "--config", place.config):
        wait_for_lock(place.folder / "ledger.db.lock")
        wait_for_legs(place, 2)
        done = pegcount("status", "--config", place.config)
        assert done.status == 0, done.err
        assert "runs without a page" in done.out


def wait_for_lock(lock: Path) -> None:
    deadline = time.monotonic() + READ_TIMEOUT_S
    while not (lock.exists() and lock.with_name("ledger.db").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)


def test_where_nothing_ever_ran_both_end_with_3(place: Place) -> None:
    for command in ("status", "upload"):
        done = pegcount(command, "--config", place.config)
        assert (done.status, done.out) == (3, "")
        assert done.err.startswith("pegcount: ")


def test_another_sites_agent_is_not_taken_for_ours(agent: Place, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    changed = agent.config.read_text().replace(SITE_ID, "0190a3c2-6f4b-7c11-9d5e-ffffffffffff")
    other.write_text(changed.replace("ledger.db", "none.db"))
    done = pegcount("status", "--config", other)
    assert (done.status, done.out) == (3, "")
    assert "another site" in done.err


def test_upload_reaches_a_real_receiver(place: Place) -> None:
    (place.folder / "token").write_text("a-token\n")
    store = place.folder / "receiver.db"
    options = ("--listen", "127.0.0.1:0", "--store", store, "--token-file", place.folder / "token")
    with running("receiver", *options) as receiver:
        assert receiver.stdout is not None
        url = receiver.stdout.readline().removeprefix("receiving at ").strip()
        uplink = f'[uplink]\nurl = "{url}"\ntoken_file = "{place.folder}/token"\ninterval_s = 86400\njitter_s = 86400\n'
        place.config.write_text(place.config.read_text() + uplink)
        with running("run", "--config", place.config) as process:
            wait_for_page(place.port, process)
            wait_for_events(place)
            done = pegcount("upload", "--config", place.config)
            assert done.status == 0, done.out + done.err
            (uplink_view,) = status_json(place)["uplinks"]
            assert uplink_view["acked_through"] == uplink_view["last_sequence"] > 0
            assert uplink_view["backlog"] == 0


def wait_for_events(place: Place) -> None:
    deadline = time.monotonic() + READ_TIMEOUT_S
    while status_json(place)["pipeline"]["events"] == 0 or status_json(place)["pipeline"]["settling"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


class _Stranger(BaseHTTPRequestHandler):
    """A web server that is no agent, and says 200 to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome to the hotel</html>")

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        """Nothing to tell."""


def test_another_program_at_the_port_is_not_taken_for_the_agent(place: Place) -> None:
    with ThreadingHTTPServer(("127.0.0.1", place.port), _Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for command in ("status", "upload"):
            done = pegcount(command, "--config", place.config)
            assert (done.status, done.out) == (3, "")
        server.shutdown()


def test_a_ledger_that_is_no_ledger_is_told_in_a_line(place: Place) -> None:
    ledger = place.folder / "ledger.db"
    ledger.mkdir()
    folder = pegcount("status", "--config", place.config)
    ledger.rmdir()
    ledger.write_bytes(b"no database " * 1000)
    letters = pegcount("status", "--config", place.config)
    for done in (folder, letters):
        assert (done.status, done.out) == (3, "")
        assert f"its ledger {ledger} cannot be read" in done.err


def test_the_log_begins_with_what_runs_and_ends_with_its_stop(place: Place) -> None:
    with running("run", "--config", place.config) as process:
        wait_for_page(place.port, process)
        process.terminate()
        _, told = process.communicate(timeout=20)
    first, last = told.splitlines()[0], told.splitlines()[-1]
    assert f"runs: site {SITE_ID}, ledger {place.folder}/ledger.db, sources pbx, sending to nothing" in first
    assert f"status page http://127.0.0.1:{place.port}" in first
    assert last.endswith("pegcount.agent: stopped")
