"""What operators did at the platform, and to which site: documents of kind `act`, the last first.

Laws
- An act is noted after it was done, with who did it: an operator by name, a token by the first digits of its SHA-256, whoever
  works on the store itself as such.
- Of each site the last KEPT are kept: a token that asks again and again fills no store.
"""

import secrets

import msgspec
from msgspec import Struct

from uplink.receiver.storage import Documents

KIND = "act"
KEPT = 200
AT_STORE = "at the store"
"""Who, where somebody works by `pegcount platform`: he may write what he likes."""
_LATEST_MS = 10**14 - 1
"""The year 5138; keys count backwards from it, so that the last act stands first."""


class Act(Struct, frozen=True, kw_only=True):
    """`what` is a word (`resend`, `resend_withdrawn`, `revoke`, `revoke_certificate`, `rotate`, `name`, `mended`),
    `detail` what it was done with."""

    site: str
    at_ms: int
    who: str
    what: str
    detail: str = ""


async def note(documents: Documents, act: Act) -> None:
    """Raises StoreUnavailable."""
    key = f"{act.site}:{_LATEST_MS - act.at_ms:014}:{secrets.token_hex(4)}"
    await documents.put(KIND, key, msgspec.json.encode(act), 0)
    for old in (await documents.listed(KIND, f"{act.site}:", KEPT + 100))[KEPT:]:
        if old.key.startswith(f"{act.site}:"):
            await documents.delete(KIND, old.key)


async def of_site(documents: Documents, site: str, limit: int) -> list[Act]:
    """The last ones, the last first. Raises StoreUnavailable."""
    found = await documents.listed(KIND, f"{site}:", limit)
    return [msgspec.json.decode(each.body, type=Act) for each in found if each.key.startswith(f"{site}:")]
