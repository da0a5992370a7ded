"""The destinations of a configuration, opened: the platform's line and the takers', or what stands in their place.

Law: what a destination lacks is told as its problem, and looked for again; everything else runs. Only a machine that is
enrolled as another site than the configuration names does not count: it would count as the wrong one.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from agent.config.tables import Config
from uplink.destinations import PLATFORMS, TAKERS
from uplink.identity import identity_folder
from uplink.line import CredentialsUnreadable
from uplink.shipper import Platform
from uplink.speaker import EnrolledElsewhere
from uplink.taker import Taker
from uplink.unopened import UnopenedPlatform, UnopenedTaker

PLATFORM = "platform"

T = TypeVar("T", Platform, Taker)


class Lines:
    """`platform` is None without an `[uplink]`, `takers` are by name. Raises EnrolledElsewhere."""

    def __init__(self, config: Config) -> None:
        site, uplink = config.site.id, config.uplink
        self.unopened: dict[str, Callable[[], Platform | Taker]] = {}
        self.platform: Platform | None = None
        if uplink:
            folder = identity_folder(config.ledger.path)
            opening = partial(PLATFORMS[uplink.kind].open, uplink, site, folder)
            self.platform = self._open(PLATFORM, opening, UnopenedPlatform)
        self.takers = {
            one.name: self._open(one.name, partial(TAKERS[one.kind].open, one.settings, site), UnopenedTaker)
            for one in config.destinations
        }

    def _open(self, name: str, open_it: Callable[[], T], stand_in: Callable[[str], T]) -> T:
        try:
            return open_it()
        except CredentialsUnreadable as error:
            self.unopened[name] = open_it
            return stand_in(str(error))

    async def openable(self) -> list[str]:
        """Those that could not be opened, and can be now."""
        return [name for name, open_it in self.unopened.items() if await _opens(open_it)]

    async def close(self) -> None:
        for line in (self.platform, *self.takers.values()):
            if line is not None:
                await line.close()


async def _opens(open_it: Callable[[], Platform | Taker]) -> bool:
    try:
        line = await asyncio.to_thread(open_it)
    except (CredentialsUnreadable, EnrolledElsewhere):
        return False
    await line.close()
    return True
