"""What stands in a destination's place while it cannot be opened: a file of its settings, an enrolment or a package is missing.

Laws
- Nothing is sent and nothing is lost; the reason is told as any other problem of the line.
- A destination that cannot be opened keeps neither counting nor another destination from running.
"""

from collections.abc import Mapping, Sequence

from uplink.batch import Batch
from uplink.session import Failure
from uplink.taker import Event, Failed, Limits, Outcome

CODE = "credentials"


class UnopenedPlatform:
    """In the place of a `shipper.Platform`."""

    def __init__(self, why: str) -> None:
        self.platform_keys: Mapping[str, bytes] = {}
        self._failure = Failure(code=CODE, detail=why)

    async def post(self, _batch: Batch) -> Failure:
        return self._failure

    async def policy(self, _seen: str) -> Failure:
        return self._failure

    async def close(self) -> None:
        """There is nothing to close."""


class UnopenedTaker:
    """In the place of a `taker.Taker`."""

    def __init__(self, why: str) -> None:
        self.limits = Limits()
        self._failed = Failed(code=CODE, detail=why)

    async def send(self, _events: Sequence[Event]) -> Outcome:
        return self._failed

    async def close(self) -> None:
        """There is nothing to close."""
