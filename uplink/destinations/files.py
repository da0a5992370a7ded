"""Files in a folder: one for each request, as CSV or JSON lines.

Laws
- A file appears under its name whole and synced, and is never written again.
- A request that is made again, perhaps with another cut, writes only events that no file in the folder holds: the files whose
  names tell of these positions are read first.
- The folder is not made: where it is missing, something is not mounted.
"""

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from uplink.destinations.file_forms import FormName, FormUnreadable, Shape
from uplink.destinations.settings import TakerSettings
from uplink.durable import sync_folder, write_aside
from uplink.taker import Event, Failed, Limits, Outcome, Taken

MAX_BYTES = 16 * 1024 * 1024
"""Of stored events in one file: it is made in memory."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FilesSettings(TakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`form` and `compressed` (gzip) of the files in `folder`; one holds `max_events` at most."""

    folder: Annotated[str, Meta(pattern="^/")]
    form: FormName = "csv"
    compressed: bool = False
    max_events: Annotated[int, Meta(ge=1, le=100_000)] = 10_000


class Files:
    def __init__(self, settings: FilesSettings, site: str) -> None:
        self.limits = Limits(max_events=settings.max_events, max_bytes=MAX_BYTES)
        self._folder = Path(settings.folder)
        self._shape = Shape(site, settings.form, settings.compressed)

    async def send(self, events: Sequence[Event]) -> Outcome:
        return await asyncio.to_thread(self._send, events)

    def _send(self, events: Sequence[Event]) -> Outcome:
        try:
            known = self._known(events)
            fresh = [event for event in events if event.id not in known]
            if fresh:
                self._write(self._shape.name(fresh), self._shape.content(fresh))
            else:
                sync_folder(self._folder)  # of an earlier rename, perhaps
        except FormUnreadable as error:
            return Failed(code="folder_unusable", detail=str(error), slow=True)
        except OSError as error:
            code = "destination_full" if error.errno in FULL else "folder_unusable"
            return Failed(code=code, detail=f"{self._folder}: {error.strerror or error}", slow=True)
        return Taken(known=len(events) - len(fresh))

    def _known(self, events: Sequence[Event]) -> set[str]:
        known: set[str] = set()
        for name in self._shape.about(os.listdir(self._folder), events):
            try:
                known.update(self._shape.ids((self._folder / name).read_bytes()))
            except FileNotFoundError:
                continue  # somebody has fetched it meanwhile
            except FormUnreadable as error:
                raise FormUnreadable(f"{self._folder / name}: {error}") from None
        return known

    def _write(self, name: str, content: bytes) -> None:
        aside = self._folder / self._shape.aside
        write_aside(aside, content)
        aside.rename(self._folder / name)
        sync_folder(self._folder)

    async def close(self) -> None:
        """Nothing is kept open."""
