"""Enrolling this machine at a platform, and changing its key: the thin shell that asks.

Laws
- What is sent is proved by the key that it is about (`uplink.enrolment`), over a line whose far end is verified.
- A machine changes who it is only by a whole and well-formed answer 200 that names the key that was sent.
"""

import asyncio
from pathlib import Path

import msgspec
from msgspec import Struct

from uplink import identity
from uplink.batch import DIGEST_FIELD, digest_field
from uplink.enrolment import (
    ENROL_PATH,
    ChangeRequest,
    Enrolled,
    EnrolRequest,
    change_text,
    decoded_key,
    encoded,
    keys_path,
)
from uplink.identity import Enrolment, signature
from uplink.keys import PrivateKey
from uplink.line import HttpLine
from uplink.session import Answer, Failure, is_page, refusal_of


class EnrolmentFailed(Exception):
    """Nothing was changed. `code` is the platform's, or one of the problems of the transport; then `on_the_way`."""

    def __init__(self, code: str, message: str, on_the_way: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.on_the_way = on_the_way


class About(Struct, frozen=True, kw_only=True):
    """What the platform's operators see of a machine: its name and the program's version."""

    version: str = ""
    machine: str = ""


async def enrol(line: HttpLine, folder: Path, token: str, about: About) -> Enrolment:
    """Enrol with a token. Raises EnrolmentFailed, CredentialsUnreadable, and OSError for the folder."""
    cause = identity.token_sha256(token)
    known = identity.load(folder)
    same = known is not None and known.enrolment.token_sha256 == cause
    key = known.key if known and same else await asyncio.to_thread(identity.new_key, folder, cause)
    request = EnrolRequest(public_key=encoded(key.public), version=about.version, machine=about.machine)
    answer = await _ask(line, ENROL_PATH, request, key, {"Authorization": f"Bearer {token}"})
    return await _taken(folder, key, Enrolment(url=line.settings.url, token_sha256=cause, answer=answer))


async def rotate(line: HttpLine, folder: Path, about: About) -> Enrolment:
    """Change the key of an enrolled machine. Raises what `enrol` raises."""
    known = identity.load(folder)
    if known is None:
        raise EnrolmentFailed("not_enrolled", "this machine is not enrolled, so there is no key to change")
    old, key = known.key, await asyncio.to_thread(identity.new_key, folder, known.key.id)
    request = ChangeRequest(
        public_key=encoded(key.public),
        proof=encoded(key.sign(change_text(known.site, old.id, key.id))),
        version=about.version,
        machine=about.machine,
    )
    answer = await _ask(line, keys_path(known.site), request, old, {})
    return await _taken(folder, key, msgspec.structs.replace(known.enrolment, answer=answer))


async def _ask(line: HttpLine, path: str, request: Struct, key: PrivateKey, headers: dict[str, str]) -> Enrolled:
    url = line.settings.url.rstrip("/") + path
    body = msgspec.json.encode(request)
    headers = {**headers, "Content-Type": "application/json", DIGEST_FIELD: digest_field(body)}
    outcome = await line.post(url, body, headers | signature(key, "POST", url, headers))
    if isinstance(outcome, Failure):
        raise EnrolmentFailed(outcome.code, outcome.detail, on_the_way=True)
    code, detail = refusal_of(outcome)
    if problem := _strangers(outcome, code):
        raise EnrolmentFailed(problem, f"HTTP {outcome.status} {outcome.location}".rstrip(), on_the_way=True)
    if outcome.status != 200:
        raise EnrolmentFailed(code or "answer_unusable", f"HTTP {outcome.status}" + (f": {detail}" if detail else ""))
    return _answered(outcome)


def _strangers(answer: Answer, code: str) -> str:
    """The problem where this is no platform's answer, or not its last word; empty where it is."""
    if is_page(answer):
        return "captive_portal"
    if answer.status == 404 and code in ("", "no_such_path"):
        return "not_found"
    return {3: "redirected", 5: "unavailable" if answer.status == 503 else "server_error"}.get(answer.status // 100, "")


def _answered(answer: Answer) -> Enrolled:
    try:
        enrolled = msgspec.json.decode(answer.body, type=Enrolled)
        for each in enrolled.platform_keys:
            decoded_key(each.public)
        if not enrolled.platform_keys:
            raise ValueError("the platform has no key to sign receipts with")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise EnrolmentFailed("answer_unusable", f"HTTP 200, but no answer of the contract: {error}") from None
    return enrolled


async def _taken(folder: Path, key: PrivateKey, enrolment: Enrolment) -> Enrolment:
    if enrolment.answer.key != key.id:
        raise EnrolmentFailed("answer_unusable", "the platform speaks of another key than it was sent")
    await asyncio.to_thread(identity.take, folder, enrolment)
    return enrolment
