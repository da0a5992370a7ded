"""Who an enrolled machine is to its platform, as long as it speaks: its identity as the folder has it now.

Laws
- Another key, or another enrolment of the same site, is taken up at the next request: nothing has to be started again.
- What cannot be used (a file in between, another site) changes nothing: the machine goes on as it was, and says so once.
- Where the platform wishes another key, it is made and asked for as by hand (`uplink.enrol`), at most once in CHANGE_EVERY_S.
- A platform's key is learned by the word of one that is known (`uplink.succession`), and is kept before it is believed.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from uplink import identity
from uplink.enrol import About, EnrolmentFailed, rotate
from uplink.enrolment import PlatformKey
from uplink.identity import ENROLMENT, Identity
from uplink.line import CredentialsUnreadable, HttpLine
from uplink.session import Answer, refusal_of
from uplink.signing import named_key
from uplink.succession import introduced

CHANGE_EVERY_S = 300.0
"""A wish is told with every answer until the new key was used, and by a platform that has a fault for ever."""

log = logging.getLogger(__name__)

_Stamp = tuple[int, int]
_NEVER: _Stamp = (0, 0)
"""Before the first look."""


class EnrolledElsewhere(Exception):
    """The configuration names another site than this machine is enrolled as."""


class Speaker:
    """`platform_keys` is the same mapping for good; what is in it changes."""

    def __init__(self, folder: Path, known: Identity) -> None:
        self._folder = folder
        self._stamp: _Stamp | None = _NEVER
        self._known = known
        self._fault = ""
        self._keys = dict(known.platform_keys)
        self._not_before_s = 0.0

    @property
    def platform_keys(self) -> Mapping[str, bytes]:
        return self._keys

    def refresh(self) -> Identity:
        """Look whether the folder says something else by now; one stat where it does not."""
        stamp = self._now()
        if stamp != self._stamp and self._take_up():
            self._stamp = stamp
        return self._known

    def was_overtaken(self, headers: Mapping[str, str], answer: Answer) -> bool:
        """Whether a request was refused because a key that came after the one which signed it was used first."""
        if answer.status != 403 or refusal_of(answer)[0] != "retired":
            return False
        return named_key(headers) != self.refresh().key.id

    async def change_key(self, line: HttpLine) -> None:
        """The platform wishes another key. What stands in the way is told, and it is tried again later."""
        now_s = time.monotonic()
        if now_s < self._not_before_s:
            return
        self._not_before_s = now_s + CHANGE_EVERY_S
        try:
            await rotate(line, self._folder, About())
        except (EnrolmentFailed, CredentialsUnreadable, OSError) as error:
            log.warning("the platform wishes another key of this machine, and there is none yet: %s", error)

    async def learn(self, told: Sequence[PlatformKey]) -> None:
        """Keep, and believe from now on, what the platform's known keys introduce."""
        if not introduced(self._keys, told):
            return
        try:
            await asyncio.to_thread(identity.learn, self._folder, told)
        except (CredentialsUnreadable, OSError) as error:
            log.error("a new key of the platform cannot be kept: %s", error)
            return
        self.refresh()

    def _take_up(self) -> bool:
        """Whether it could be; else it is looked at again with the next request."""
        try:
            found = identity.load(self._folder)
        except CredentialsUnreadable as error:
            self._say(f"what this machine is enrolled as cannot be read, and it goes on as before: {error}")
            return False
        if found is None or found.site != self._known.site:
            who = f"enrolled as {found.site}" if found else "not enrolled any more"
            self._say(f"this machine is {who}; until the agent is restarted it speaks for {self._known.site}")
            return False
        if found.key.id != self._known.key.id:
            log.info("from now on this machine signs by key %s instead of %s", found.key.id, self._known.key.id)
        for fresh in found.platform_keys.keys() - self._keys.keys():
            log.info("the platform signs its receipts by key %s now", fresh)
        self._known, self._fault = found, ""
        self._keys.clear()
        self._keys.update(found.platform_keys)
        return True

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            log.error("%s", fault)
        self._fault = fault

    def _now(self) -> _Stamp | None:
        """Each change gives the file another inode: it is written aside."""
        try:
            stat = (self._folder / ENROLMENT).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns


def as_site(folder: Path, site: str) -> Speaker | None:
    """Who speaks for a site by what `folder` holds; None where that is no enrolment. Raises CredentialsUnreadable and
    EnrolledElsewhere."""
    known = identity.load(folder)
    if known is None:
        return None
    if known.site != site:
        raise EnrolledElsewhere(f"[site] id is {site}, but this machine is enrolled as {known.site}")
    return Speaker(folder, known)
