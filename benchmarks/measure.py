"""Whole processes, timed: wall clock, CPU and peak memory of a command, as the kernel counts them.

`wait4` gives the usage of the waited-for process and of those that it waited for itself: `ru_maxrss` is the largest
single process of that tree, not their sum.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct


class Failed(Exception):
    """A contender ended with an error: its figures would mean nothing."""


class Run(Struct, frozen=True, kw_only=True):
    """One process from start to end. `output` is its standard output."""

    wall_s: float
    cpu_s: float
    rss_bytes: int
    output: bytes


def once(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run `command` to its end. Output goes to files, so that no pipe slows the contender down."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            err.seek(0)
            raise Failed(f"{command[0]} ended with {process.returncode}: {err.read(2000).decode(errors='replace')}")
        out.seek(0)
        return Run(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            rss_bytes=usage.ru_maxrss * 1024,
            output=out.read(),
        )


def median(command: Sequence[str], runs: int, environment: Mapping[str, str] | None = None) -> Run:
    """The run of median wall time, with the largest memory of all runs."""
    done = sorted((once(command, environment) for _ in range(runs)), key=lambda run: run.wall_s)
    middle = done[(len(done) - 1) // 2]
    return Run(
        wall_s=statistics.median(run.wall_s for run in done),
        cpu_s=middle.cpu_s,
        rss_bytes=max(run.rss_bytes for run in done),
        output=middle.output,
    )


def python() -> str:
    """The interpreter that is measured: the one that runs the benchmark."""
    return sys.executable
