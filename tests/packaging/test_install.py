"""What the installer refuses, and what a release holds. That it installs is shown in the lab (tests/lab/test_systemd.py)."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from agent.config import load
from collectors.registry import KINDS

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = ROOT / "packaging/install.sh"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(INSTALLER), *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--clear-groups", "--", "/bin/sh", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_says_what_it_can_do() -> None:
    told = run("--help")
    assert told.returncode == 0
    assert "--uninstall --purge" in told.stdout


def test_it_wants_root_before_it_does_anything() -> None:
    refused = run()
    assert refused.returncode == 1
    assert refused.stderr == "pegcount: must be run by root (sudo packaging/install.sh)\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--delete"], "unknown argument: --delete"),
        (["--purge"], "--purge goes with --uninstall"),
        (["--download"], "--download needs a folder"),
        (["--with"], "--with needs extras"),
        (["--with", "postgres,oracle"], "there is no extra oracle"),
    ],
)
def test_it_refuses_what_it_does_not_know(arguments: list[str], reason: str) -> None:
    refused = run(*arguments)
    assert refused.returncode == 1
    assert reason in refused.stderr


def test_the_installer_knows_what_each_extra_needs_and_has_it_pinned() -> None:
    """Its table is what the packages themselves say that they need, beyond what every installation has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = dict(re.findall(r"^        (\w+)\) echo (.+) ;;$", INSTALLER.read_text(), re.MULTILINE))
    base = needed(project["dependencies"])
    assert {extra: set(packages.split()) for extra, packages in table.items()} == {
        extra: needed(packages) - base for extra, packages in project["optional-dependencies"].items()
    }
    pinned = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)
    assert {package for packages in table.values() for package in packages.split()} <= set(pinned)


def needed(requirements: list[str]) -> set[str]:
    """These packages and what they need, by what is installed here."""
    found: set[str] = set()
    seen: set[str] = set()
    while requirements := [each for each in requirements if each not in seen]:
        seen.update(requirements)
        more: list[str] = []
        for requirement in map(Requirement, requirements):
            found.add(re.sub(r"[-_.]+", "-", requirement.name).lower())
            for text in distribution(requirement.name).requires or ():
                marker = Requirement(text).marker
                if marker is None or any(marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}):
                    more.append(text)
        requirements = more
    return found


def test_the_wheel_holds_every_file_of_the_packages_and_no_test(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    files = subprocess.run(
        ["git", "ls-files", "agent", "collectors", "uplink", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    files = [name for name in files if (ROOT / name).is_file()]
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [sys.executable, *build, "--wheel-dir", tmp_path, source],
        check=True,
        capture_output=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    (wheel,) = tmp_path.glob("pegcount-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    parts = {name for name in files if name.split("/")[0] in ("agent", "collectors", "uplink")}
    assert parts <= held
    assert not [name for name in held if name.startswith(("tests/", "benchmarks/"))]


def test_the_example_of_a_configuration_is_correct_and_knows_every_kind_it_shows(tmp_path: Path) -> None:
    text = (ROOT / "packaging/pegcount.toml").read_text("utf-8")
    assert set(re.findall(r'kind = "(\w+)"', text)) <= set(KINDS)
    uncommented = re.sub(r"^# (?=[\w\[])(?!.*[a-z] [a-z]+ [a-z])", "", text, flags=re.MULTILINE)
    example = tmp_path / "pegcount.toml"
    for variant in (text, uncommented):
        example.write_text(variant)
        assert load(example).sources
