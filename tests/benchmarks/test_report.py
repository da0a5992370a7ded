"""A benchmark's table goes into the page between its own markers, and nowhere else."""

from pathlib import Path

import pytest

from benchmarks.measure import Failed, median, once, python
from benchmarks.report import Table, markdown, write

TABLE = Table(name="one", title="One", columns=("who", "rate"), rows=[("us", "2"), ("a|b", "1")], notes=("By hand.",))


def test_a_table_is_markdown() -> None:
    assert markdown(TABLE) == "## One\n\n| who | rate |\n| --- | --- |\n| us | 2 |\n| a\\|b | 1 |\n\n- By hand.\n"


def test_a_second_run_replaces_the_first_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    other = Table(name="other", title="Other", columns=("x",), rows=[("1",)])
    write(TABLE, page)
    write(other, page)
    page.write_text(page.read_text() + "\nWritten by hand.\n")
    before = page.read_text()
    write(Table(name="one", title="One", columns=("who",), rows=[("new",)]), page)
    after = page.read_text()
    assert "| new |" in after
    assert "| us |" not in after
    assert after[after.index("<!-- benchmark other -->") :] == before[before.index("<!-- benchmark other -->") :]


def test_a_process_is_measured_with_the_memory_that_it_took() -> None:
    run = once([python(), "-c", "print(len(b'x' * 100_000_000))"])
    assert run.output == b"100000000\n"
    assert 100_000_000 < run.rss_bytes < 150_000_000
    assert 0 < run.wall_s < 60


def test_what_starts_a_process_does_not_count_as_its_memory() -> None:
    ballast = b"x" * 100_000_000
    assert once([python(), "-I", "-S", "-c", "pass"]).rss_bytes < 30_000_000 < len(ballast)


def test_the_median_is_of_the_runs_that_were_made(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    median([python(), "-c", f"open({str(log)!r}, 'a').write('x')"], 3)
    assert log.read_text() == "xxx"


def test_a_contender_that_fails_has_no_figures() -> None:
    with pytest.raises(Failed, match="no such thing"):
        once([python(), "-c", "raise SystemExit('no such thing')"])
