"""Voicemail boxes by what the phone system tells their seats: NOTIFY of message-summary (RFC 3842). Pure.

Laws
- A message was left when the number of new ones has risen since the last time that this box was told of. The first
  time is where counting begins: how the box filled before is not known.
- Several devices of a seat are told the same, and again at each registration: that is nothing new.
"""

import re
from hashlib import blake2b

from collectors.records import FeatureUse
from collectors.sip.message import Message

BOXES_MAX = 8_192
"""Boxes followed at once."""

EVENT = b"message-summary"

_NEW = re.compile(rb"^voice-message[ \t]*:[ \t]*(\d{1,6})[ \t]*/", re.IGNORECASE | re.MULTILINE)


class Mailboxes:
    def __init__(self, counters: dict[str, int]) -> None:
        self.new: dict[str, int] = {}
        """New messages by seat; told of least recently first."""
        self._counters = counters

    def told(self, request: Message, seat: str, at_us: int) -> FeatureUse | None:
        """A NOTIFY to the phone of `seat`."""
        found = _NEW.search(request.body)
        if found is None or not seat or request.get(b"Event").partition(b";")[0].strip().lower() != EVENT:
            return None
        new, before = int(found[1]), self.new.pop(seat, None)
        if len(self.new) >= BOXES_MAX:
            del self.new[next(iter(self.new))]
            self._counters["boxes_evicted"] += 1
        self.new[seat] = new
        if before is None or new <= before:
            return None
        key = blake2b(b"%b %b %d" % (request.call_id, request.cseq, at_us), digest_size=16).hexdigest()
        return FeatureUse(code="voicemail_deposit", endpoint=seat, at_ms=at_us // 1000, count=new - before, key=key)
