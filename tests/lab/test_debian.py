"""The container itself: it boots, forgets, and leaves nothing behind, even when the one who started it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.asterisk import LabUnavailable
from tests.lab.debian import DebianLab

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
BOOT_AND_WAIT = """
import time
from tests.lab.debian import DebianLab
with DebianLab({}) as debian:
    print(debian._leader, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def debian() -> DebianLab:
    """Not booted yet; that it can be was tried."""
    lab = DebianLab({})
    try:
        with lab:
            lab.run("touch", "/left-behind")
    except LabUnavailable as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the lab must run here: {reason}")
        pytest.skip(str(reason))
    return DebianLab({})


def test_every_boot_begins_with_the_same_debian(debian: DebianLab) -> None:
    with debian:
        assert debian.run("test", "-e", "/left-behind", check=False).returncode == 1
        assert debian.run("cat", "/proc/1/comm").stdout == "systemd\n"
        assert debian.run("cat", "/etc/debian_version").stdout.startswith("12.")


@pytest.mark.usefixtures("debian")
def test_a_lab_whose_owner_is_killed_ends_with_it() -> None:
    owner = subprocess.Popen([sys.executable, "-c", BOOT_AND_WAIT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    leader = Path("/proc") / owner.stdout.readline().strip()
    assert (leader / "comm").read_text() == "systemd\n"
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 10
    while (leader / "status").exists() and "State:\tZ" not in (leader / "status").read_text():
        assert time.monotonic() < deadline, f"{leader} is still there"
        time.sleep(0.1)
    assert "nspawn" not in Path("/proc/self/mounts").read_text()
