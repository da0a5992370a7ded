"""How often Python looks for cycles among the objects of the agent, and of the receiver."""

import gc

YOUNG_OBJECTS = 50_000
"""One piece of an old file comes to some 20,000 objects that live until its commit. Python's own threshold of 700 has the
collector walk over them time and again, which takes a tenth of the processor time of catching up; records hold no cycles, so it
finds nothing. What does have cycles (tasks, exceptions) is little, and is freed some pieces later."""


def collect_seldom() -> None:
    """To be called once, when the agent starts."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
