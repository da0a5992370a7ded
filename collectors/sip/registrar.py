"""Registrations and the other requests outside of calls: MESSAGE, SUBSCRIBE and REFER. Only those that were accepted count.

Laws
- A binding is an address of record and a contact (RFC 3261 section 10). A refresh is never a new one: a record is made
  when a binding begins, once in each further UTC hour in which it is refreshed, and when it ends or runs out.
- What the registrar answers is what holds: a contact's `expires`, else the Expires header, else an hour.
- A request that gets no answer, or a refusal, makes no record; it is counted.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct

from collectors.records import FeatureUse, Record, Registration
from collectors.sip.address import Address, bare, listed, param, read_address, tag, text, uri_of, user
from collectors.sip.brief import Brief, to_value
from collectors.sip.glance import Glance, Unusual, glance
from collectors.sip.limits import Limits
from collectors.sip.message import Message, parse
from collectors.sip.packets import SipPacket
from collectors.sip.quick import read
from collectors.sip.standalone import uses_of
from collectors.sip.state import Binding, Transaction

EXPIRES_DEFAULT_S = 3600
"""Where neither the contact nor the header says it: what registrars usually grant (RFC 3261 section 10.2.1.1 leaves it
to the registrar)."""

EXPIRES_MAX_S = 2**32 - 1
"""RFC 3261 section 20.19."""

HOUR_US = 3_600_000_000
SWEEP_US = 60_000_000
"""How often bindings are looked through for those that ran out; their records tell the right time all the same."""


class Registrar:
    def __init__(self, limits: Limits, counters: dict[str, int], records: list[Record]) -> None:
        self.limits = limits
        self.counters = counters
        self.records = records
        self.transactions: dict[bytes, Transaction] = {}
        self.bindings: dict[str, Binding] = {}
        self.contacts: dict[str, str] = {}
        self.swept_us = 0

    def endpoint_of(self, uri: bytes) -> str:
        """The endpoint that registered this contact, or nothing."""
        return self.contacts.get(bare(uri), "") if self.contacts and uri else ""

    def request(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        method, _, call_id, cseq = short
        key = call_id + b"\0" + cseq
        if key in self.transactions:
            self.counters["retransmissions"] += 1
            return
        if len(self.transactions) >= self.limits.transactions:
            self._forget_oldest()
        asked = self.transactions[key] = Transaction(packet.at_us, method, data, message is None)
        if method == b"MESSAGE":
            asked.relayed = self._relayed(packet, message or read(data, short, self.counters))

    def _forget_oldest(self) -> None:
        oldest = next(iter(self.transactions))
        if not self.transactions.pop(oldest).done:
            self.counters["transactions_evicted"] += 1

    def answer(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        _, status, call_id, cseq = short
        asked = self.transactions.get(call_id + b"\0" + cseq)
        if asked is None:
            self.counters["orphans"] += 1
            return
        if status < 200 or asked.done:
            return
        said, asked.done, asked.data = asked.data, True, b""
        if status >= 300:
            self.counters["refused"] += 1
        elif asked.method == b"REGISTER":
            again = (b"REGISTER", 0, call_id, cseq) if asked.plain else None
            wanted = self._told(said, again, None, _request_told)
            granted = self._told(data, short, message, _answer_told)
            self._registered(wanted, granted, packet.at_us)
        else:
            again = asked.method, 0, call_id, cseq
            self._accepted(asked, read(said, again, self.counters) if asked.plain else parse(said))

    def _accepted(self, asked: Transaction, request: Message) -> None:
        if not asked.relayed:
            for code, endpoint in uses_of(request):
                self._use(code, endpoint, asked, request)

    # --- REGISTER

    def _told(
        self,
        data: bytes,
        short: Brief | None,
        message: Message | None,
        told: Callable[[Glance | Message], tuple[bytes, ...]],
    ) -> tuple[bytes, ...]:
        """The headers that matter, by the shortest way that reads them for sure."""
        if message is None and short is not None:
            try:
                return told(glance(data))
            except Unusual:
                message = read(data, short, self.counters)
        return told(message or parse(data))

    def _registered(self, wanted: tuple[bytes, ...], granted: tuple[bytes, ...], at_us: int) -> None:
        for contact in _contacts(wanted, granted):
            if contact.uri == EVERY:
                self._end_all(contact.aor, at_us)
            else:
                self._bind(contact, at_us)

    def _bind(self, contact: "_Contact", at_us: int) -> None:
        expires_us, hour = at_us + contact.seconds * 1_000_000, at_us // HOUR_US
        before = self.bindings.get(contact.key)
        live = before is not None and not before.ended
        if expires_us <= at_us:
            if before is not None and live:
                self._end(before, at_us)
        elif before is not None and live and before.hour == hour:
            before.expires_us, before.user_agent = expires_us, contact.user_agent
        else:
            self._begin(contact, before, expires_us, at_us)

    def _begin(self, contact: "_Contact", before: Binding | None, expires_us: int, at_us: int) -> None:
        """A new binding, or the first refresh of this hour."""
        now = Binding(contact.endpoint, contact.aor, contact.uri, contact.instance, contact.user_agent, expires_us)
        now.hour = at_us // HOUR_US
        if before is not None:
            now.ordinal = before.ordinal + before.ended if before.hour == now.hour else 0
        elif len(self.bindings) >= self.limits.bindings:
            self._evict()
        self.bindings[contact.key] = now
        self.contacts[now.contact] = now.endpoint
        self._record(now, at_us, expires_us, "registered")

    def _evict(self) -> None:
        """Make room: the binding that was made first goes. Its seat has been told of already."""
        self._remove(next(iter(self.bindings)))
        self.counters["bindings_evicted"] += 1

    def _remove(self, key: str) -> None:
        gone = self.bindings.pop(key)
        if not gone.ended and self.contacts.get(gone.contact) == gone.endpoint:
            del self.contacts[gone.contact]

    def _end_all(self, aor: str, at_us: int) -> None:
        for binding in self.bindings.values():
            if binding.aor == aor and not binding.ended:
                self._end(binding, at_us)

    def _end(self, binding: Binding, at_us: int) -> None:
        self._record(binding, at_us, at_us, "ended")
        binding.ended, binding.expires_us = True, at_us
        if self.contacts.get(binding.contact) == binding.endpoint:
            del self.contacts[binding.contact]

    def _record(self, binding: Binding, at_us: int, expires_us: int, state: str) -> None:
        parts = (binding.aor, binding.contact, binding.instance, str(at_us // HOUR_US), str(binding.ordinal), state)
        self.records.append(
            Registration(
                key=_key(*parts),
                endpoint=binding.endpoint,
                contact=binding.contact,
                at_ms=at_us // 1000,
                expires_at_ms=expires_us // 1000,
                state="ended" if state == "ended" else "registered",
                user_agent=binding.user_agent,
            )
        )

    # --- MESSAGE and SUBSCRIBE

    def _relayed(self, packet: SipPacket, request: Message) -> bool:
        """The phone system passes a message on with a Call-ID of its own: the same sender and text, from where the first
        one went, is the same message."""
        words = b"\0".join((request.get(b"Content-Type"), _sender(request), request.body))
        mark = b"\0relay " + blake2b(words, digest_size=16).digest()
        passed = mark + packet.src.encode() in self.transactions
        self.transactions[mark + packet.dst.encode()] = Transaction(packet.at_us, b"", b"", done=True)
        return passed

    def _use(self, code: str, endpoint: str, asked: Transaction, request: Message) -> None:
        sender = text(tag(request.get(b"From")))
        key = _key(code, text(request.call_id), sender, text(request.cseq), str(asked.at_us))
        self.records.append(FeatureUse(code=code, endpoint=endpoint, at_ms=asked.at_us // 1000, key=key))

    # --- time

    def run(self, now_us: int) -> None:
        self._forget_silent(now_us - self.limits.transaction_ms * 1000)
        if now_us >= self.swept_us + SWEEP_US:
            self.swept_us = now_us
            self._sweep(now_us)

    def _forget_silent(self, before_us: int) -> None:
        while self.transactions:
            key = next(iter(self.transactions))
            first = self.transactions[key]
            if first.at_us > before_us:
                return
            del self.transactions[key]
            self.counters["unanswered"] += not first.done

    def _sweep(self, now_us: int) -> None:
        gone = []
        for key, binding in self.bindings.items():
            if binding.ended:
                if binding.expires_us // HOUR_US != now_us // HOUR_US:
                    gone.append(key)
            elif binding.expires_us <= now_us:
                self._end(binding, binding.expires_us)
        for key in gone:
            self._remove(key)

    def restore(self, transactions: dict[bytes, Transaction], bindings: dict[str, Binding], swept_us: int) -> None:
        self.transactions, self.bindings, self.swept_us = transactions, bindings, swept_us
        self.contacts = {binding.contact: binding.endpoint for binding in bindings.values() if not binding.ended}


def _seconds(value: bytes) -> int | None:
    """A span in seconds as a header tells it, or None."""
    return min(int(value[:12]), EXPIRES_MAX_S) if value.isdigit() else None


class _Contact(Struct, frozen=True, gc=False):
    key: str
    endpoint: str
    aor: str
    uri: str
    instance: str
    user_agent: str
    seconds: int


EVERY = "*"
"""The contact of a request that ends all bindings (RFC 3261 section 10.2.2)."""


def _request_told(request: Glance | Message) -> tuple[bytes, ...]:
    to = to_value(request.data) if isinstance(request, Glance) else request.get(b"To")
    if to is None:
        raise Unusual
    return to, _list(request), request.get(b"Expires"), request.get(b"User-Agent")


def _answer_told(answer: Glance | Message) -> tuple[bytes, ...]:
    return _list(answer), answer.get(b"Expires")


def _list(message: Glance | Message) -> bytes:
    """All contacts as one list."""
    return message.get(b"Contact") if isinstance(message, Glance) else b",".join(message.values(b"Contact"))


@lru_cache(2048)
def _contacts(wanted: tuple[bytes, ...], granted: tuple[bytes, ...]) -> tuple[_Contact, ...]:
    """The contacts that a request names, and what the answer gives them. A phone refreshes with the same words again and
    again, so that this is known mostly."""
    to, named, expires, agent = wanted
    uri = uri_of(to)
    aor, endpoint = bare(uri), user(uri) or bare(uri)
    answered = {bare(found.uri): found for found in map(read_address, listed([granted[0]]))}
    default = _seconds(granted[1])
    default = _seconds(expires) if default is None else default
    contacts = []
    for value in listed([named]):
        asked = read_address(value)
        contact = EVERY if value == b"*" else bare(asked.uri)
        instance = text(param(asked.params, b"+sip.instance") or b"")
        seconds = _granted(answered.get(contact), asked, default)
        contacts.append(_Contact(f"{aor} {contact}", endpoint, aor, contact, instance, text(agent), seconds))
    return tuple(contacts)


def _granted(answered: Address | None, wanted: Address, default: int | None) -> int:
    """What holds, in seconds: the registrar's word for this contact, else what the contact asked for, else the header."""
    for found in (answered, wanted):
        seconds = _seconds(param(found.params, b"expires") or b"") if found is not None else None
        if seconds is not None:
            return seconds
    return EXPIRES_DEFAULT_S if default is None else default


def _sender(request: Message) -> bytes:
    return uri_of(request.get(b"From")).partition(b"@")[0]


def _key(*parts: str) -> str:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
