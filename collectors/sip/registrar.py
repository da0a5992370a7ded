"""Requests outside of calls: REGISTER, MESSAGE, SUBSCRIBE and REFER. Only those that were accepted count.

Laws
- A transaction is a Call-ID and a CSeq, so that a request which a proxy passes on is one, however many hops show it; once it
  was refused, other words from the same address are another try.
- The first 2xx counts, also after another answer: a proxy asks elsewhere. A request that gets no answer, or a refusal, makes no
  record; it is counted, and `risk` hears of a REGISTER that was refused with its credentials.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from collectors.records import FeatureUse, Record
from collectors.sip.address import tag, text, uri_of
from collectors.sip.bindings import Bindings, record_key
from collectors.sip.brief import Brief
from collectors.sip.contacts import Told, answer_told, aor_of, contacts, request_told
from collectors.sip.glance import Glance, Unusual, glance
from collectors.sip.limits import Limits
from collectors.sip.message import Message, parse
from collectors.sip.packets import SipPacket
from collectors.sip.quick import read
from collectors.sip.risk import REFUSALS, Risks
from collectors.sip.standalone import uses_of
from collectors.sip.state import Transaction
from collectors.sip.text_message import content_of, segments

CHALLENGES = (401, 407)


class Registrar:
    """The transactions. What they make of bindings is `bindings`' part."""

    def __init__(
        self, limits: Limits, bindings: Bindings, risks: Risks, counters: dict[str, int], records: list[Record]
    ) -> None:
        self.limits = limits
        self.bindings = bindings
        self.risks = risks
        self.counters = counters
        self.records = records
        self.transactions: OrderedDict[bytes, Transaction] = OrderedDict()
        self._bytes = 0
        """What the transactions hold."""
        self.endpoint_of = bindings.endpoint_of

    def register(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        self.risks.agent(packet, data)
        self.request(packet, data, short, message)

    def request(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        method, _, call_id, cseq = short
        key = call_id + b"\0" + cseq
        known = self.transactions.get(key)
        if known is not None and _is_another_try(known, packet, data):
            self._bytes -= _weight(key, self.transactions.pop(key))
        elif known is not None:
            if known.src == packet.src:
                self.counters["retransmissions"] += 1
            else:
                self.counters["relayed"] += 1
            return
        self._make_room(len(key) + len(data))
        asked = self.transactions[key] = Transaction(packet.at_us, method, data, message is None, src=packet.src)
        self._bytes += len(key) + len(data)
        if method == b"MESSAGE":
            asked.relayed = self._relayed(packet, message or read(data, short, self.counters))

    def _make_room(self, size_bytes: int) -> None:
        limits, transactions = self.limits, self.transactions
        while transactions and (
            len(transactions) >= limits.transactions or self._bytes + size_bytes > limits.transactions_bytes
        ):
            oldest = self._forget_oldest()
            self.counters["transactions_evicted"] += not oldest.done and not oldest.status

    def _forget_oldest(self) -> Transaction:
        key, oldest = self.transactions.popitem(last=False)
        self._bytes -= _weight(key, oldest)
        return oldest

    def answer(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        _, status, call_id, cseq = short
        asked = self.transactions.get(call_id + b"\0" + cseq)
        if asked is None:
            self.counters["orphans"] += 1
            return
        if status < 200 or asked.done:
            return
        again = (asked.method, 0, call_id, cseq) if asked.plain else None
        if status >= 300:
            self._refused(asked, again, packet, data, status)
            return
        said, asked.done, asked.data = asked.data, True, b""
        self._bytes -= len(said)
        if asked.method == b"REGISTER":
            wanted = self._told(said, again, None, request_told)
            granted = self._told(data, short, message, answer_told)
            self._registered(asked, wanted, granted, packet)
        else:
            self._accepted(asked, read(said, again, self.counters) if again else parse(said))

    def _accepted(self, asked: Transaction, request: Message) -> None:
        if not asked.relayed:
            for code, endpoint in uses_of(request):
                self._use(code, endpoint, asked, request)

    # --- REGISTER

    def _told(
        self, data: bytes, short: Brief | None, message: Message | None, told: Callable[[Glance | Message], Told]
    ) -> Told:
        """The headers that matter, by the shortest way that reads them for sure."""
        if message is None and short is not None:
            try:
                return told(glance(data))
            except Unusual:
                message = read(data, short, self.counters)
        return told(message or parse(data))

    def _registered(self, asked: Transaction, wanted: Told, granted: Told, packet: SipPacket) -> None:
        found = contacts(wanted, granted)
        for contact in found:
            self.bindings.take(contact, packet.at_us)
        if found:
            self.risks.registered(asked.src, packet.src, found[0].aor)

    def _refused(self, asked: Transaction, again: Brief | None, packet: SipPacket, answer: bytes, status: int) -> None:
        """The first refusal on any hop. A challenge is none: it asks for credentials, or for those of a newer nonce."""
        if asked.status:
            return
        asked.status = status
        challenged = status in CHALLENGES and not (b"uthorization:" in asked.data and not _is_stale(answer))
        if challenged:
            self.counters["challenged"] += 1
        else:
            self.counters["refused"] += 1
        if asked.method != b"REGISTER" or status not in REFUSALS:
            return
        aor, endpoint = aor_of(self._told(asked.data, again, None, request_told)[0])
        known = self.bindings.has(aor)
        if not challenged:
            self.risks.refused(asked.src, aor, endpoint, known, packet.at_us)
        elif not known and b"uthorization:" not in asked.data:
            self.risks.challenged(asked.src, aor, packet.at_us)

    # --- the others

    def _relayed(self, packet: SipPacket, request: Message) -> bool:
        """The phone system passes a message on with a Call-ID of its own: the same sender and text, from where the first
        one went, is the same message."""
        words = b"\0".join((request.get(b"Content-Type"), _sender(request), request.body))
        mark = b"\0relay " + blake2b(words, digest_size=16).digest()
        passed = mark + packet.src.encode() in self.transactions
        place = mark + packet.dst.encode()
        if place not in self.transactions:
            self._bytes += len(place)
        self.transactions[place] = Transaction(packet.at_us, b"", b"", done=True)
        return passed

    def _use(self, code: str, endpoint: str, asked: Transaction, request: Message) -> None:
        sender = text(tag(request.get(b"From")))
        key = record_key(code, text(request.call_id), sender, text(request.cseq), str(asked.at_us))
        told = segments(content_of(request)) if code == "message" else 0
        use = FeatureUse(code=code, endpoint=endpoint, at_ms=asked.at_us // 1000, key=key, segments=told)
        self.records.append(use)

    # --- time

    def run(self, now_us: int) -> None:
        before_us = now_us - self.limits.transaction_ms * 1000
        while self.transactions:
            first = next(iter(self.transactions.values()))
            if first.at_us > before_us:
                break
            self._forget_oldest()
            self.counters["unanswered"] += not first.done and not first.status
        self.bindings.run(now_us)

    def restore(self, transactions: dict[bytes, Transaction]) -> None:
        self.transactions = OrderedDict(transactions)
        self._bytes = sum(_weight(key, asked) for key, asked in transactions.items())


def _weight(key: bytes, asked: Transaction) -> int:
    return len(key) + len(asked.data)


def _is_another_try(known: Transaction, packet: SipPacket, data: bytes) -> bool:
    """Whether a request with the same Call-ID and CSeq is none that was sent again, which would have the same bytes (RFC 3261
    section 17.1.2.2): SIPVicious tries all its passwords under one, and some phones do not count on after a challenge."""
    return known.src == packet.src and known.status != 0 and not known.done and known.data != data


def _is_stale(answer: bytes) -> bool:
    """Whether a challenge says that the password was right and the nonce too old (RFC 7616 section 3.3)."""
    return b"stale=true" in answer.replace(b'"', b"").replace(b" ", b"").lower()


def _sender(request: Message) -> bytes:
    return uri_of(request.get(b"From")).partition(b"@")[0]
