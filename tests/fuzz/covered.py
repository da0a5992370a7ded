"""One target under atheris, which keeps the inputs that reach new code.

The changes are those of `mutate`; libFuzzer chooses what to change, and ends the process when it is done. Findings are kept as
they are made.
"""

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["collectors"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.judge import judge
from tests.fuzz.mutate import INPUT_MAX_BYTES, changed

INSTRUMENTED_SLOW_S = 0.2
"""Following the code takes five times as long and more; what takes longer than linear time takes seconds."""


def main(name: str, folder: str, *options: str) -> None:
    """`folder` takes the inputs that reached new code, `options` are libFuzzer's."""
    target = TARGETS[name]
    seeds, places = target.seeds(), set()

    def one(data: bytes) -> None:
        finding = judge(target, data, slow_s=INSTRUMENTED_SLOW_S)
        if finding is not None and finding.place not in places:
            places.add(finding.place)
            print(f"{name}: {finding.told} at {finding.place}, kept as {finding.keep(name).name}", flush=True)

    def mutate(data: bytes, max_size: int, turn: int) -> bytes:
        return changed(data, random.Random(turn), target, seeds)[:max_size]

    for number, data in enumerate(seeds):
        (Path(folder) / str(number)).write_bytes(data)
    arguments = [sys.argv[0], *options, f"-max_len={INPUT_MAX_BYTES}", folder]
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
