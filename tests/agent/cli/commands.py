"""The `pegcount` command, in this process or as one of its own, with the configuration that a test writes."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner
from msgspec import Struct

from agent.cli.main import main

CHECKOUT = Path(__file__).resolve().parents[3]
SITE_ID = "0190a3c2-6f4b-7c11-9d5e-3a1f0c2b4d6e"
SITE = f"""[site]
id = "{SITE_ID}"
provider = "example"
name = "Berlin office"
timezone = "Europe/Berlin"
[site.dialplan]
country = "DE"
area = "30"
"""
START_TIMEOUT_S = 30


class Done(Struct, frozen=True):
    status: int
    out: str
    err: str


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PEGCOUNT_")}
    return {**kept, "PYTHONPATH": str(CHECKOUT)}


def pegcount(*arguments: str | Path) -> Done:
    """Run to its end, in this process: most of a start is the import of what is imported already."""
    names = {name: None for name in os.environ if name.startswith("PEGCOUNT_")}
    result = CliRunner().invoke(main, [*map(str, arguments)], prog_name="pegcount", env=names)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def process(*arguments: str | Path) -> Done:
    """Run to its end, as a process of its own."""
    command = [sys.executable, "-m", "agent.cli", *map(str, arguments)]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=60, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run beside the test, and stop by SIGTERM; it must then end by itself."""
    command = [sys.executable, "-m", "agent.cli", *map(str, arguments)]
    process = subprocess.Popen(
        command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_page(port: int, process: subprocess.Popen[str]) -> None:
    """Return when the agent's page answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the agent's page did not come up")
