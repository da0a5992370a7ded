"""Requests that came before: signatures seen lately, in bounded memory.

Laws
- Only signatures that hold are kept, so nobody without a key can fill it.
- It is a fence and no proof: what is older than the last SEEN_MAX requests, or came before a restart, is not known again.
  But a batch that is sent again stores nothing twice, whoever sends it.
"""

import hashlib

from uplink.signing import Signed

SEEN_MAX = 100_000
"""15 minutes of 111 requests a second, which are 100,000 sites at one upload each quarter of an hour. About 10 MB."""


class Replays:
    def __init__(self, limit: int = SEEN_MAX) -> None:
        self._limit = limit
        self._seen: dict[bytes, None] = {}

    def is_new(self, signed: Signed) -> bool:
        """Whether it is the first time; from now on it is not. What is compared is what the signature covers, not its bytes,
        which may be written in more than one way."""
        mark = hashlib.sha256(f"{signed.key_id} {signed.created_s} {signed.nonce}".encode()).digest()[:16]
        if mark in self._seen:
            return False
        if len(self._seen) >= self._limit:
            del self._seen[next(iter(self._seen))]
        self._seen[mark] = None
        return True
