"""Whole processes, timed: wall clock, CPU and peak memory of a command, as the kernel counts them.

`wait4` gives the usage of the waited-for process and of those that it waited for itself: `ru_maxrss` is the largest
single process of that tree, not their sum. It also counts what the process was before its exec, that is the memory of
whoever started it; therefore a launcher stands between, as small as a Python process can be (9 MB: the floor of what can
be measured).
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from msgspec import Struct

LAUNCHER = """
import os, sys, time
started = time.perf_counter()
pid = os.fork()
if not pid:
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
_, status, usage = os.wait4(pid, 0)
wall_s = time.perf_counter() - started
report = '{"exit": %d, "wall_s": %.6f, "cpu_s": %.6f, "rss_kib": %d}' % (
    os.waitstatus_to_exitcode(status), wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
os.write(int(sys.argv[1]), report.encode())
"""


class Failed(Exception):
    """A contender ended with an error: its figures would mean nothing."""


class Run(Struct, frozen=True, kw_only=True):
    """One process from start to end. `output` is its standard output."""

    wall_s: float
    cpu_s: float
    rss_bytes: int
    output: bytes


def once(command: Sequence[str]) -> Run:
    """Run `command` to its end. Output goes to files, so that no pipe slows the contender down."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as report:
        launch = [python(), "-I", "-S", "-c", LAUNCHER, str(report.fileno()), *command]
        subprocess.run(launch, stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=[report.fileno()], check=True)
        for file in (out, err, report):
            file.seek(0)
        usage = json.loads(report.read())
        if usage["exit"]:
            tail = err.read()[-2000:].decode(errors="replace")
            raise Failed(f"{command[0]} ended with {usage['exit']}: {tail}")
        return Run(wall_s=usage["wall_s"], cpu_s=usage["cpu_s"], rss_bytes=usage["rss_kib"] * 1024, output=out.read())


def median(command: Sequence[str], runs: int) -> Run:
    """The median wall time, with the CPU time and output of that run and the largest memory of all runs."""
    return medians([command], runs)[0]


def medians(commands: Sequence[Sequence[str]], runs: int) -> list[Run]:
    """The same for several contenders, in turns, so that what else the machine does meets them alike."""
    rounds = [[once(command) for command in commands] for _ in range(runs)]
    return [_middle(done) for done in zip(*rounds, strict=True)]


def _middle(done: Sequence[Run]) -> Run:
    ordered = sorted(done, key=lambda run: run.wall_s)
    middle = ordered[(len(ordered) - 1) // 2]
    return Run(
        wall_s=statistics.median(run.wall_s for run in ordered),
        cpu_s=middle.cpu_s,
        rss_bytes=max(run.rss_bytes for run in ordered),
        output=middle.output,
    )


def python() -> str:
    """The interpreter that is measured: the one that runs the benchmark."""
    return sys.executable
