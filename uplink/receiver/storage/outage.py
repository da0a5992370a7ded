"""A store that does not answer: told in the log once, and once when it answers again."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from uplink.receiver.storage import StoreUnavailable

log = logging.getLogger(__name__)


class Outage:
    """`what` is it that may be away, as the log is to call it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since_s: float | None = None

    def begins(self, why: object) -> None:
        if self._since_s is None:
            self._since_s = time.monotonic()
            log.error("%s cannot be used: %s", self._what, why)

    def ends(self) -> None:
        if self._since_s is not None:
            log.warning("%s can be used again, after %.0f s", self._what, time.monotonic() - self._since_s)
            self._since_s = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What is done within has been answered, or raises StoreUnavailable."""
        try:
            yield
        except StoreUnavailable as error:
            self.begins(error)
            raise
        self.ends()
