"""Sessions of operators: documents of kind `session` by the SHA-256 of their random id, which only the browser has.

Laws
- A session is its operator's at one revision: a new password, another role or a removal ends all of them.
- What a form must carry (against forgery from other sites) is worked out from the id, so nobody but its page can know it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable

import msgspec
from msgspec import Struct

from uplink.receiver.fleet import operators
from uplink.receiver.fleet.operators import Operator
from uplink.receiver.storage import Documents

KIND = "session"
ID_BYTES = 32
ID_MAX_CHARS = 64
LASTS_MS = 12 * 3_600_000
"""A working day."""
SWEEP_MAX = 1000
"""Sessions that are looked through for ended ones at each login."""


class Session(Struct, frozen=True, kw_only=True):
    operator: str
    revision: int
    ends_ms: int


class Visitor(Struct, frozen=True):
    """An operator who is logged in. `form_key` is what his forms carry."""

    operator: Operator
    form_key: str

    def is_admin(self) -> bool:
        return self.operator.role == "admin"


class Sessions:
    def __init__(self, documents: Documents, clock_ms: Callable[[], int]) -> None:
        self._documents = documents
        self._clock_ms = clock_ms

    async def begin(self, operator: Operator, revision: int) -> str:
        """The new session's id. Raises StoreUnavailable."""
        await self._sweep()
        made = secrets.token_urlsafe(ID_BYTES)
        session = Session(operator=operator.name, revision=revision, ends_ms=self._clock_ms() + LASTS_MS)
        await self._documents.put(KIND, _key(made), msgspec.json.encode(session), 0)
        return made

    async def visitor(self, session_id: str) -> Visitor | None:
        """Raises StoreUnavailable."""
        if not 0 < len(session_id) <= ID_MAX_CHARS:
            return None
        document = await self._documents.get(KIND, _key(session_id))
        session = msgspec.json.decode(document.body, type=Session) if document else None
        if session is None or session.ends_ms <= self._clock_ms():
            return None
        found = await operators.find(self._documents, session.operator)
        if found is None or found[1] != session.revision:
            return None
        return Visitor(found[0], form_key(session_id))

    async def end(self, session_id: str) -> None:
        await self._documents.delete(KIND, _key(session_id))

    async def _sweep(self) -> None:
        for document in await self._documents.listed(KIND, limit=SWEEP_MAX):
            if msgspec.json.decode(document.body, type=Session).ends_ms <= self._clock_ms():
                await self._documents.delete(KIND, document.key, document.revision)


def form_key(session_id: str) -> str:
    return hmac.digest(session_id.encode(), b"form", "sha256").hex()


def _key(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
