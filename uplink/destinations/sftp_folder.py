"""A folder of an SFTP server.

Laws
- A file is written aside, under a name that no other attempt has, synced where the server can (`fsync@openssh.com`), held
  against its length, and renamed. So what an attempt that was cut off still has on its way can name its own file only.
- Such leftovers are taken away before the folder is listed: after that no earlier attempt gives a name to anything.
- At a failure the connection is given up. While requests follow each other it is kept, and what its list said holds on: only
  this connection adds files of ours.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import asyncssh

from uplink.destinations.file_forms import OPENED_MAX_BYTES, FileName, FormUnreadable, Shape
from uplink.destinations.folder import Unusable
from uplink.destinations.sftp import SftpSettings
from uplink.destinations.sftp_session import Session, login_of, unusable
from uplink.line import CredentialsUnreadable
from uplink.pacing import BURST_S, Bucket, bytes_s

log = logging.getLogger(__name__)

PIECE_BYTES = 256 * 1024
"""On their way at once. A line of 64 kbit/s carries it in 33 s, within the `timeout_s` that is the default."""
LINGER_S = 30.0
"""How long a connection is kept for the next request: a platform may have 10,000 sites, and each login is a process there."""


class SftpFolder:
    """Implements `Folder`. Raises CredentialsUnreadable where a file that the settings name cannot be used; they are read again
    at each login."""

    def __init__(self, settings: SftpSettings, shape: Shape) -> None:
        login_of(settings)
        self._settings = settings
        self._folder = settings.folder.rstrip("/") or "/"
        self._shape = shape
        rate = bytes_s(settings.max_kbit_s)
        self._bucket = Bucket(rate) if rate else None
        self._piece_bytes = min(PIECE_BYTES, max(1, int(rate * BURST_S))) if rate else PIECE_BYTES
        self._session: Session | None = None
        self._listed: list[FileName] | None = None
        self._listed_since = 0
        self._end: asyncio.TimerHandle | None = None
        self._told = False

    async def ours(self, since: int) -> Sequence[FileName]:
        async with self._talk() as session:
            if self._listed is None or since < self._listed_since:
                self._listed = await self._list(session, since)
            self._listed = [one for one in self._listed if one.last >= since]
            self._listed_since = since
            return self._listed

    async def read(self, name: str) -> bytes | None:
        async with self._talk() as session:
            try:
                file = await session.answered(session.sftp.open(self._path(name), "rb"))
            except asyncssh.SFTPNoSuchFile:
                return None
            found = bytearray()
            while piece := await session.answered(file.read(PIECE_BYTES, len(found))):
                found += cast(bytes, piece)
                if len(found) > OPENED_MAX_BYTES:
                    raise FormUnreadable(f"{name}: this is longer than any file of ours")
            await session.answered(file.close())
            return bytes(found)

    async def put(self, name: str, content: bytes) -> None:
        async with self._talk(len(content)) as session:
            aside = self._path(self._shape.aside(secrets.token_hex(8)))
            await self._write(session, aside, content)
            try:
                await session.answered(session.sftp.posix_rename(aside, self._path(name)))
            except asyncssh.SFTPOpUnsupported:
                await session.answered(session.sftp.rename(aside, self._path(name)))
            if self._listed is not None:
                self._listed += self._shape.files([name], self._listed_since)
            await self._sync(session, [name])

    async def settle(self, names: Sequence[str]) -> None:
        async with self._talk() as session:
            await self._sync(session, names)

    async def close(self) -> None:
        self._drop()

    async def _list(self, session: Session, since: int) -> list[FileName]:
        """What stays after nothing can appear any more: an aside that is gone when it is to go may just have got its name."""
        found, asides = await self._scan(session, since)
        for aside in asides:
            try:
                await session.answered(session.sftp.remove(self._path(aside)))
            except asyncssh.SFTPNoSuchFile:
                continue
        return (await self._scan(session, since))[0] if asides else found

    async def _scan(self, session: Session, since: int) -> tuple[list[FileName], list[str]]:
        found: list[FileName] = []
        asides: list[str] = []
        entries = session.sftp.scandir(os.fsencode(self._folder))
        while entry := await session.answered(anext(entries, None)):
            name = os.fsdecode(entry.filename)
            found += self._shape.files([name], since)
            asides += [name] if self._shape.is_aside(name) else []
        return found, asides

    async def _write(self, session: Session, aside: str, content: bytes) -> None:
        file = await session.answered(session.sftp.open(aside, "xb"))
        for start in range(0, len(content), self._piece_bytes):
            piece = content[start : start + self._piece_bytes]
            if self._bucket and (wait_s := self._bucket.take(len(piece), asyncio.get_running_loop().time())):
                await asyncio.sleep(wait_s)
            await session.answered(file.write(piece, start))
        await self._synced(session, file)
        there = (await session.answered(file.stat())).size
        await session.answered(file.close())
        if there != len(content):
            raise Unusable("folder_unusable", f"{aside} has {there} of {len(content)} bytes", slow=True)

    async def _sync(self, session: Session, names: Sequence[str]) -> None:
        """Their names, too: where a file is synced after it was renamed, ext4, XFS and Btrfs have noted the rename."""
        for name in names:
            try:
                file = await session.answered(session.sftp.open(self._path(name), "rb"))
            except asyncssh.SFTPNoSuchFile:
                continue  # somebody has fetched it already
            await self._synced(session, file)
            await session.answered(file.close())

    async def _synced(self, session: Session, file: asyncssh.SFTPClientFile) -> None:
        try:
            await session.answered(file.fsync())
        except asyncssh.SFTPOpUnsupported:
            if not self._told:
                log.warning("%s cannot sync files: what it took may be lost in a power cut", self._settings.host)
            self._told = True

    def _path(self, name: str) -> str:
        return f"{self._folder.rstrip('/')}/{name}"

    @asynccontextmanager
    async def _talk(self, needed_bytes: int = 0) -> AsyncIterator[Session]:
        """Whatever goes wrong within ends the session, and is told as Unusable. `needed_bytes`: of room."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._session is not None and self._session.is_over():
            self._drop()
        try:
            self._session = self._session or await login_of(self._settings).enter()
            yield self._session
        except CredentialsUnreadable as error:
            raise Unusable("credentials", str(error), slow=False) from None
        except asyncssh.SFTPFailure as error:
            raise await self._why(error, needed_bytes) from None
        except (asyncssh.Error, OSError) as error:
            self._drop()
            raise unusable(error) from None
        except BaseException:
            self._drop()
            raise
        self._end = asyncio.get_running_loop().call_later(LINGER_S, self._drop)

    async def _why(self, error: asyncssh.SFTPFailure, needed_bytes: int) -> Unusable:
        """OpenSSH says no more than "Failure" where a disk is full (SFTP version 3 has no word for it)."""
        room = await self._session.room_bytes(self._folder) if self._session and needed_bytes else None
        self._drop()
        if room is not None and room < needed_bytes:
            return Unusable("destination_full", f"{self._folder}: {room} bytes of room for {needed_bytes}", slow=True)
        quota = ", perhaps of a quota" if needed_bytes else ""
        return Unusable("folder_unusable", f"{self._folder}: the server says {error}{quota}", slow=True)

    def _drop(self) -> None:
        session, self._session, self._listed = self._session, None, None
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if session is not None:
            session.end()
