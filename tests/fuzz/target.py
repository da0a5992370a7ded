"""What is fuzzed: a function of bytes that may raise nothing, and messages of our own to begin from.

A decoder's declared exceptions are caught in its target; whatever else comes out is a finding, and so is taking too long.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct


class Target(Struct, frozen=True):
    """`words` are put in as they are, beside the generic ones. `binary`: numbers and lengths lie in it as octets."""

    run: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = ()
    binary: bool = False
