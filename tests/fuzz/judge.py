"""Whether a target bore an input: nothing raised, and no longer taken than any message may.

Laws
- A finding is told once for each place in the code that it comes from.
- Time is this process's CPU time; what seems slow is tried again, so that a busy machine makes no finding.
"""

import time
import traceback
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from tests.fuzz.target import Target

SLOW_S = 0.02
"""For 64 kB."""
SLACK = 4
"""What the tests bear: other machines are slower and busy, and what takes quadratic time takes seconds."""
SLOW_TRIES = 3

CASES = Path(__file__).with_name("cases")


def kept(name: str) -> list[Path]:
    """The cases of a target that were found so far."""
    return sorted((CASES / name).glob("*"))


class Finding(Struct, frozen=True):
    place: str
    """File and line of what was raised, or `slow`."""
    told: str
    data: bytes

    def keep(self, name: str) -> Path:
        """A file that the tests try again for ever."""
        path = CASES / name / sha256(self.data).hexdigest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return path


def judge(target: Target, data: bytes, slow_s: float = SLOW_S) -> Finding | None:
    began = time.process_time()
    try:
        target.run(data)
    except Exception as fault:
        where = traceback.extract_tb(fault.__traceback__)[-1]
        return Finding(f"{where.filename}:{where.lineno}", f"{type(fault).__name__}: {fault}", data)
    if time.process_time() - began > slow_s and (took := _fastest(target, data)) > slow_s:
        return Finding("slow", f"{took * 1000:.0f} ms for {len(data)} octets", data)
    return None


def _fastest(target: Target, data: bytes) -> float:
    took = []
    for _ in range(SLOW_TRIES):
        began = time.process_time()
        target.run(data)
        took.append(time.process_time() - began)
    return min(took)
