"""`python -m tests.fuzz [--inputs N] [--seconds S] [--engine own|atheris] [--seed N] [TARGET...]`

Tries so many inputs on each target (or for so long), keeps each finding as a file under `cases/` and prints what it was. Exit
status 1 where there was any. `own` only mutates and is the faster one; `atheris` follows the code that is reached.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time

from tests.fuzz.judge import SLOW_S, judge, kept
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS


def main() -> int:
    options = _options()
    found = 0
    for name in options.targets or TARGETS:
        if options.engine == "atheris":
            found += covered(name, options.inputs, options.seconds, options.seed)
        else:
            found += own(name, options.inputs, options.seconds, options.seed)
    return bool(found)


def own(name: str, inputs: int, seconds: float, seed: int, slow_s: float = SLOW_S) -> int:
    """How many findings there were, each from another place."""
    target, chance = TARGETS[name], random.Random(seed)
    seeds, places = target.seeds(), set()
    began, tried = time.monotonic(), 0
    while tried < inputs and (tried % 256 or time.monotonic() - began < seconds):
        finding = judge(target, mutated(seeds, chance, target), slow_s)
        tried += 1
        if finding is not None and finding.place not in places:
            places.add(finding.place)
            print(f"{name}: {finding.told} at {finding.place}, kept as {finding.keep(name).name}", flush=True)
    print(f"{name}: {tried:,} inputs in {time.monotonic() - began:.1f} s, {len(places)} findings", flush=True)
    return len(places)


def covered(name: str, inputs: int, seconds: float, seed: int) -> int:
    """The same by atheris, in a process of its own: it never returns."""
    before = len(kept(name))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        options = [f"-atheris_runs={inputs}", f"-max_total_time={seconds:.0f}", f"-seed={seed}"]
        subprocess.run([sys.executable, "-m", "tests.fuzz.covered", name, folder, *options], check=True)
    return len(kept(name)) - before


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the decoders.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which ones: {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs for each target (default 100,000)")
    parser.add_argument("--seconds", type=float, default=3600, help="no longer than this for each (default an hour)")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other inputs (default 1)")
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
