"""What every benchmark hands in, and how it is shown.

Laws
- A benchmark is a module `benchmarks/<name>.py` with `run(settings: Settings) -> Table`, named in
  `benchmarks/__main__.py`.
- `run` measures us and the peers on the same input in the same call, and raises `Mismatch` where our result is not the
  expected one: a fast wrong answer is no result.
- A number in `docs/benchmarks.md` comes from a run: the page's marked parts are written by `write`, never by hand.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct


class Mismatch(Exception):
    """Our result differs from what the input is known to hold."""


class Settings(Struct, frozen=True, kw_only=True):
    """`folder`: where inputs may be made (removed afterwards by the caller). `runs`: how often each contender runs; the
    median is reported. `scale`: fraction of the full input, for a quick look; figures are quoted at 1.0 only."""

    folder: Path
    runs: int = 3
    scale: float = 1.0


class Table(Struct, frozen=True, kw_only=True):
    """One benchmark's outcome. `rows` hold text as it is to be read; `notes` say on what and how it was measured."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def markdown(table: Table) -> str:
    lines = [f"## {table.title}", "", _row(table.columns), _row("---" for _ in table.columns)]
    lines += [_row(row) for row in table.rows]
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def write(table: Table, page: Path) -> None:
    """Put `table` between its two markers in `page`; they are added at the end where they are missing."""
    begin, end = f"<!-- benchmark {table.name} -->", f"<!-- /benchmark {table.name} -->"
    text = page.read_text() if page.exists() else "# Benchmarks\n\nWritten by `python -m benchmarks NAME --write`.\n"
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else ""
    gap = "" if found else "\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{before}{gap}{begin}\n{markdown(table)}{end}{after or chr(10)}")


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
