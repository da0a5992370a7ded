"""What holds for all tests.

With `CI=true` a skipped test is a failed one: there, everything that a test needs is to be installed. Only tests that read
the sample corpus (`samples`) may skip, since the corpus is not part of the project.
"""

import os
from collections.abc import Generator

import pytest

IN_CI = os.environ.get("CI") == "true"


def _fail_where_skipped(report: pytest.TestReport | pytest.CollectReport, may_skip: bool) -> None:
    if not IN_CI or may_skip or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"with CI=true nothing may be skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_where_skipped(report, item.get_closest_marker("samples") is not None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself as a whole hides its tests, whatever their marks: let each test skip by itself."""
    report = yield
    _fail_where_skipped(report, may_skip=False)
    return report
