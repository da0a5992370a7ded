"""The rule that nothing is skipped in continuous integration, tried on a small run of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
CASES = """
import pytest

def test_passes():
    pass

def test_skips_by_itself():
    pytest.skip("no chromium here")

@pytest.mark.skipif(True, reason="not root")
def test_skips_by_a_mark():
    pass

@pytest.mark.samples
def test_skips_without_samples():
    pytest.skip("the corpus is absent")

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    assert False
"""


def run(folder: Path, ci: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    samples: x\n")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--no-header", str(folder)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_in_ci_a_skip_fails_with_its_reason_except_for_samples(tmp_path: Path) -> None:
    (tmp_path / "test_cases.py").write_text(CASES)
    status, said = run(tmp_path, ci="true")
    assert status == 1
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error" in said
    assert "with CI=true nothing may be skipped" in said
    assert "no chromium here" in said


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    (tmp_path / "test_cases.py").write_text(CASES)
    status, said = run(tmp_path, ci="")
    assert status == 0
    assert "1 passed, 3 skipped, 1 xfailed" in said


@pytest.mark.parametrize(("ci", "status"), [("true", 2), ("", 5)])
def test_a_module_that_skips_as_a_whole_fails_too(tmp_path: Path, ci: str, status: int) -> None:
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.skip('not here', allow_module_level=True)\n")
    assert run(tmp_path, ci)[0] == status
