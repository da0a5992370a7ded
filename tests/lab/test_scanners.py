"""Real attackers against a real phone system: SIPVicious, as Debian ships it, looks for accounts and guesses a password."""

import shutil
import subprocess
from pathlib import Path

import pytest

from collectors.records import Registration, Risk
from collectors.sip.kind import KIND
from tests.lab.asterisk import AsteriskLab
from tests.lab.office import Office
from tests.lab.test_proxy import captured

pytestmark = pytest.mark.lab

ATTACKER = "127.0.0.1"
"""SIPVicious speaks from where the phone system is; the office's phones have addresses of their own on loopback."""


def attack(name: str, *arguments: str) -> None:
    program = shutil.which(name)
    if program is None:
        pytest.skip("SIPVicious is missing: Debian's package sipvicious")
    subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def heard(lab: AsteriskLab, folder: Path) -> list[object]:
    """The office's phones log in, and an attacker comes: accounts 900 to 930, then 400 passwords for 101."""
    path = folder / "attack.pcapng"
    target = ("-p", str(lab.sip_port), lab.sip_ip)
    with captured(path), Office(lab, folder, f"{lab.sip_ip}:{lab.sip_port}"):
        attack("svwar", "-m", "REGISTER", "-e", "900-930", *target)
        attack("svcrack", "-u", "101", "-r", "100-500", *target)
    return [record for batch in KIND.read(path, KIND.config()) for record in batch.records]


def test_the_attacker_is_told_and_nobody_else(heard: list[object]) -> None:
    risks = [record for record in heard if isinstance(record, Risk)]
    assert {risk.origin for risk in risks} == {ATTACKER}
    assert {risk.code for risk in risks} == {"risk.scanner", "risk.register_failing", "risk.register_guessing"}
    assert sum(risk.count for risk in risks if risk.code != "risk.scanner") >= 300


def test_who_guesses_makes_no_seat(heard: list[object]) -> None:
    seats = {record.endpoint for record in heard if isinstance(record, Registration)}
    assert "101" in seats
    assert not any(seat.startswith("9") for seat in seats)
