"""`python -m benchmarks [NAME...] [--runs N] [--scale F] [--write]`: run benchmarks, print their tables as Markdown.

Exit status 1 where a result is wrong or a contender fails, 2 for a wrong command line.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Failed
from benchmarks.report import Mismatch, Settings, Table, markdown, write

BENCHMARKS = ("sip", "sip_growth", "live", "media", "cdr", "uplink", "stream")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def main() -> int:
    options = _options()
    status = 0
    for name in options.names or BENCHMARKS:
        try:
            table = _run(name, options.runs, options.scale)
        except (Mismatch, Failed) as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            status = 1
            continue
        print(markdown(table))
        if options.write:
            write(table, PAGE)
    return status


def _run(name: str, runs: int, scale: float) -> Table:
    with tempfile.TemporaryDirectory(prefix=f"benchmark-{name}-") as folder:
        table: Table = importlib.import_module(f"benchmarks.{name}").run(
            Settings(folder=Path(folder), runs=runs, scale=scale)
        )
        return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure us beside the peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender; the median counts (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full input (default 1.0)")
    parser.add_argument("--write", action="store_true", help=f"also write the tables into {PAGE.name}")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
