"""The platform's policy at this site: asked for now and then, checked, kept on disk, and told about.

Laws
- The last good policy is in force until another good one comes or the platform has none any more; it survives restarts and
  outages. One that is refused changes nothing, and its reason is told with every batch.
- What was kept is checked again at every start, against the local file as it is then.
"""

import asyncio
import hashlib
import logging
import time
from pathlib import Path
from typing import Protocol

from agent.config.findings import ConfigError
from agent.config.policy import check, governed
from agent.config.tables import Config
from uplink.enrolment import GivenPolicy
from uplink.identity import identity_folder, write_durably
from uplink.session import Answer, Failure, refusal_of

ASK_EVERY_S = 300.0
"""At the soonest, after an upload: a stream uploads each second, and a policy may take a quarter of an hour to arrive."""
HASH_SHOWN = 16
CONTENT_TYPE = "application/toml"
FILE = "policy.toml"

log = logging.getLogger("pegcount.policy")


class Platform(Protocol):
    async def policy(self, seen: str) -> Answer | Failure:
        """The site's policy, unless it is the one whose SHA-256 is `seen`."""


class PolicyKeeper:
    """For one agent's whole life, also while it is started anew under another policy. `config` is what holds now, `outcome`
    what became of the last policy: `applied`, or `refused` and why; both are told with the hash of the one in force."""

    def __init__(self, local: Config) -> None:
        self.local = self.config = local
        self.outcome = ""
        self.in_force = ""
        self._seen = ""
        self._asked_s = -ASK_EVERY_S
        self._file = identity_folder(local.ledger.path) / FILE
        self._take_kept()

    async def ask(self, platform: Platform) -> bool:
        """Ask, if the last time is long enough ago; whether another configuration holds now. Raises OSError where it cannot be
        kept."""
        if time.monotonic() - self._asked_s < ASK_EVERY_S:
            return False
        answer = await platform.policy(self._seen)
        self._asked_s = time.monotonic()
        if not isinstance(answer, Answer):
            return False
        if answer.status == 200 and is_policy(answer):
            return await asyncio.to_thread(self._consider, answer.body)
        if answer.status == 404 and refusal_of(answer)[0] == "no_policy":
            return await asyncio.to_thread(self._withdraw)
        return False

    def _take_kept(self) -> None:
        try:
            kept = self._file.read_text("utf-8", "replace")
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("the policy that was kept cannot be read, and is asked for again: %s", error)
            return
        self._take(kept)

    @property
    def fault(self) -> str:
        """Why the last policy was refused, or nothing."""
        return self.outcome if self.outcome.startswith("refused") else ""

    def _consider(self, body: bytes) -> bool:
        before = self.config
        if not self._take(body.decode("utf-8", "replace"), hashlib.sha256(body).hexdigest()):
            return False
        keep(self._file.parent, body)
        return self.config != before

    def _take(self, text: str, digest: str = "") -> bool:
        """Whether it is good; then it is in force."""
        self._seen = digest or hashlib.sha256(text.encode()).hexdigest()
        try:
            self.config = governed(self.local, text)
        except ConfigError as error:
            first = error.findings[0]
            self.outcome = f"refused {self._seen[:HASH_SHOWN]}: {first}"
            log.error("the platform's policy is refused: %s", error)
            return False
        self.in_force, self.outcome = self._seen[:HASH_SHOWN], "applied"
        return True

    def _withdraw(self) -> bool:
        before, self.config = self.config, self.local
        self.in_force = self.outcome = self._seen = ""
        self._file.unlink(missing_ok=True)
        return self.config != before


def is_policy(answer: Answer) -> bool:
    """Whether these are the platform's own words, whole. A portal's page is none; nor is an empty answer."""
    tag = answer.headers.get("etag", "").removeprefix("W/").strip('"')
    return answer.content_type.startswith(CONTENT_TYPE) and tag == hashlib.sha256(answer.body).hexdigest()


def keep(folder: Path, body: bytes) -> None:
    """It is in force at the next start, where the local file as it is then permits. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(folder / FILE, body)


def lay_down(folder: Path, config: Config | None, given: GivenPolicy | None) -> str:
    """What a machine was given at its enrolment: checked against its configuration, or without one by itself, and kept for the
    first start. Returns why it is refused; what was kept before then stays. Raises OSError."""
    if given is None:
        (folder / FILE).unlink(missing_ok=True)
        return ""
    body = given.text.encode()
    if hashlib.sha256(body).hexdigest() != given.etag:
        return "its text is not the one that its ETag names"
    try:
        check(given.text) if config is None else governed(config, given.text)
    except ConfigError as error:
        return str(error.findings[0])
    keep(folder, body)
    return ""
