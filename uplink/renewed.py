"""What is made of files that somebody may renew while the agent runs: certificates, tokens.

Laws
- It is made anew when one of its files is another one: one stat each where none is.
- What cannot be used (a certificate whose key is still the old one, a file half written) changes nothing; it is said once, and
  looked at again with the next use.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class CredentialsUnreadable(Exception):
    """A file that the settings name cannot be read, or does not hold what it should. The message says why."""


class Renewed(Generic[T]):
    """`make` makes it of `files`, of which empty ones are none. Raises CredentialsUnreadable, as `make` does."""

    def __init__(self, files: Sequence[str], make: Callable[[], T]) -> None:
        self._files = [Path(file) for file in files if file]
        self._make = make
        self._stamps = self._now()
        self._made = make()
        self._fault = ""

    def current(self) -> T:
        if self._files and (stamps := self._now()) != self._stamps:
            try:
                self._made = self._make()
            except CredentialsUnreadable as error:
                self._say(f"what was renewed cannot be used, and the one before still is: {error}")
            else:
                self._stamps, self._fault = stamps, ""
                log.info("renewed: %s", ", ".join(map(str, self._files)))
        return self._made

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            log.error("%s", fault)
        self._fault = fault

    def _now(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Another one after a rename, a write, or a link that points elsewhere."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
