"""Files in a folder of this machine.

Law: what lies aside is one file, since one request is made at a time; a crash leaves it, and the next attempt takes it away.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta

from uplink.destinations.file_forms import FileName, Shape
from uplink.destinations.folder import FolderSettings, FolderTaker, Unusable, shape_of
from uplink.durable import sync_folder, write_aside
from uplink.taker import Taker

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_T = TypeVar("_T")


class FilesSettings(FolderSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    folder: Annotated[str, Meta(pattern="^/")]

    def where(self) -> str:
        return self.folder.rstrip("/")


class LocalFolder:
    """Implements `Folder`."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self._folder = folder
        self._shape = shape

    async def ours(self, since: int) -> Sequence[FileName]:
        return self._shape.files(await self._done(lambda: os.listdir(self._folder)), since)

    async def read(self, name: str) -> bytes | None:
        def read() -> bytes | None:
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

        return await self._done(read)

    async def put(self, name: str, content: bytes) -> None:
        def put() -> None:
            aside = self._folder / self._shape.aside()
            write_aside(aside, content)
            aside.rename(self._folder / name)
            sync_folder(self._folder)

        await self._done(put)

    async def settle(self, names: Sequence[str]) -> None:
        await self._done(lambda: sync_folder(self._folder))

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _done(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            code = "destination_full" if error.errno in FULL else "folder_unusable"
            raise Unusable(code, f"{self._folder}: {error.strerror or error}", slow=True) from None


def open_files(settings: FilesSettings, site: str) -> Taker:
    """Raises CredentialsUnreadable where the library for the form is not installed."""
    shape = shape_of(settings, site)
    return FolderTaker(settings, LocalFolder(Path(settings.folder), shape), shape)
