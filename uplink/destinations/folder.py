"""Events as files in a folder, wherever it is: one file for each request, as CSV, JSON lines or Parquet.

Laws
- A file appears under its name whole and synced, and is never written again.
- A request that is made again, perhaps with another cut, writes only events that no file in the folder holds: the files whose
  names tell of these positions are read first.
- The folder is not made: where it is missing, something is not mounted.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Protocol

from msgspec import Meta

from uplink.destinations.file_forms import FileName, FormName, FormUnreadable, Shape
from uplink.destinations.settings import TakerSettings
from uplink.extras import missing
from uplink.line import CredentialsUnreadable
from uplink.outbox import Refusal
from uplink.taker import Event, Failed, Limits, Outcome, Taken

MAX_BYTES = 16 * 1024 * 1024
"""Of stored events in one file: it is made in memory."""


class FolderSettings(TakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`form` and `compressed` of the files; one holds `max_events` at most."""

    form: FormName = "csv"
    compressed: bool = False
    max_events: Annotated[int, Meta(ge=1, le=100_000)] = 10_000

    def where(self) -> str:
        """Which folder it is; the same for two that mean the same."""
        raise NotImplementedError


class Unusable(Exception):
    """What a folder raises, whatever happens to it."""

    def __init__(self, code: str, detail: str, *, slow: bool) -> None:
        super().__init__(detail)
        self.failed = Failed(code=code, detail=detail, slow=slow)


class Folder(Protocol):
    """A place for files of one shape. Raises Unusable and nothing else."""

    async def ours(self, since: int) -> Sequence[FileName]:
        """Our files that end at position `since` or later."""

    async def read(self, name: str) -> bytes | None:
        """None where it is gone: somebody has fetched it."""

    async def put(self, name: str, content: bytes) -> None:
        """Returns when the file is durable under its name; there is no such file yet."""

    async def settle(self, names: Sequence[str]) -> None:
        """Returns when files that are there are durable under their names."""

    async def close(self) -> None: ...


class FolderTaker:
    """Implements `Taker` over a folder."""

    def __init__(self, settings: FolderSettings, folder: Folder, shape: Shape) -> None:
        self.limits = Limits(max_events=settings.max_events, max_bytes=MAX_BYTES)
        self._folder = folder
        self._shape = shape

    async def send(self, events: Sequence[Event]) -> Outcome:
        unfit = {event.position: words for event in events if (words := self._shape.unfit(event))}
        fitting = [event for event in events if event.position not in unfit]
        try:
            known = await self._known(fitting) if fitting else set()
            fresh = [event for event in fitting if event.id not in known]
            if fresh:
                content = await asyncio.to_thread(self._shape.content, fresh)
                await self._folder.put(self._shape.name(fresh), content)
        except FormUnreadable as error:
            return Failed(code="folder_unusable", detail=str(error), slow=True)
        except Unusable as error:
            return error.failed
        refused = (Refusal(seq=position, code="not_exact", message=words) for position, words in unfit.items())
        return Taken(refused=tuple(refused), known=len(fitting) - len(fresh))

    async def _known(self, events: Sequence[Event]) -> set[str]:
        """The ids of those files that may hold some of these events."""
        known: set[str] = set()
        about = [one.name for one in await self._folder.ours(events[0].position) if one.first <= events[-1].position]
        for name in about:
            content = await self._folder.read(name)
            try:
                known.update(() if content is None else await asyncio.to_thread(self._shape.ids, content))
            except FormUnreadable as error:
                raise FormUnreadable(f"{name}: {error}") from None
        if about:
            await self._folder.settle(about)
        return known

    async def close(self) -> None:
        await self._folder.close()


def shape_of(settings: FolderSettings, site: str) -> Shape:
    """Raises CredentialsUnreadable where the library for the form is not installed."""
    try:
        return Shape(site, settings.form, settings.compressed)
    except ImportError as error:
        raise CredentialsUnreadable(missing(error, settings.form)) from None
