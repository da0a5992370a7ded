"""What a REGISTER asked for, and what its answer granted. Pure.

Laws
- The registrar's word holds: a contact's `expires` in the answer, else in the request, else the Expires header, else an hour.
- The answer lists all bindings of the address of record (RFC 3261 section 10.3); only those that the request named are told of
  here. The others are known from their own requests, which say what device they are.
- A device keeps its identity over a new port, address or connection: `+sip.instance` and `reg-id` (RFC 5626 section 6).
"""

from functools import lru_cache

from msgspec import Struct

from collectors.sip.address import Address, bare, listed, param, read_address, short, text, uri_of, user
from collectors.sip.brief import to_value
from collectors.sip.devices import mac_address, says_mobile
from collectors.sip.glance import Glance, Unusual
from collectors.sip.message import Message

EXPIRES_DEFAULT_S = 3600
"""Where neither the contact nor the header says it: what registrars usually grant (RFC 3261 section 10.2.1.1 leaves it
to the registrar)."""

EXPIRES_MAX_S = 2**32 - 1
"""RFC 3261 section 20.19."""

REMEMBERED_BYTES = 4_096
"""What is longer is read each time: the longest REGISTERs of real phones have some 2 kB, and what is remembered stays small."""

EVERY = "*"
"""The contact of a request that ends all bindings (RFC 3261 section 10.2.2)."""


class Contact(Struct, frozen=True, gc=False):
    """One contact that a request named. `key` is its binding's, `identity` what it is known by beside the contact (instance and
    reg-id), `device_id` the instance or MAC address. `also`: other URIs that calls may reach it by: as the registrar wrote it
    down, and its temporary GRUU (RFC 5627)."""

    key: str
    endpoint: str
    aor: str
    uri: str
    identity: str
    device_id: str
    user_agent: bytes
    mobile: bool
    seconds: int
    also: tuple[str, ...]


Told = tuple[bytes, ...]


def request_told(request: Glance | Message) -> Told:
    to = to_value(request.data) if isinstance(request, Glance) else request.get(b"To")
    if to is None:
        raise Unusual
    return to, _list(request), request.get(b"Expires"), request.get(b"User-Agent")


def answer_told(answer: Glance | Message) -> Told:
    return _list(answer), answer.get(b"Expires")


def _list(message: Glance | Message) -> bytes:
    """All contacts as one list."""
    return message.get(b"Contact") if isinstance(message, Glance) else b",".join(message.values(b"Contact"))


def seconds_of(value: bytes) -> int | None:
    """A span in seconds as a header tells it, or None."""
    return min(int(value[:12]), EXPIRES_MAX_S) if value.isdigit() else None


def aor_of(to: bytes) -> tuple[str, str]:
    """The address of record that To names, and the endpoint: its user part."""
    uri = uri_of(to)
    return bare(uri), user(uri) or bare(uri)


def contacts(wanted: Told, granted: Told) -> tuple[Contact, ...]:
    """The contacts that a request names, and what the answer gives them; those that end come last, so that a device that moves
    to a new contact within one request stays registered. A phone refreshes with the same words again and again, so that
    this is known mostly."""
    to, named, _, agent = wanted
    length = len(to) + len(named) + len(agent) + len(granted[0])
    return _known(wanted, granted) if length <= REMEMBERED_BYTES else _read(wanted, granted)


def _read(wanted: Told, granted: Told) -> tuple[Contact, ...]:
    to, named, expires, agent = wanted
    aor, endpoint = aor_of(to)
    answered = [read_address(value) for value in listed([granted[0]])]
    defaults = seconds_of(granted[1]), seconds_of(expires)
    asked = listed([named])
    found = [_contact(aor, endpoint, value, agent, answered, len(asked) == 1, defaults) for value in asked]
    return tuple(sorted(found, key=lambda contact: contact.seconds == 0))


_known = lru_cache(2048)(_read)


Defaults = tuple[int | None, int | None]
"""What the Expires headers of the answer and of the request say."""


def _contact(
    aor: str, endpoint: str, value: bytes, agent: bytes, answered: list[Address], alone: bool, defaults: Defaults
) -> Contact:
    asked = read_address(value)
    uri = EVERY if value == b"*" else bare(asked.uri)
    instance = param(asked.params, b"+sip.instance") or b""
    flow = param(asked.params, b"reg-id") or b""
    identity = text(instance + b";" + flow) if instance else ""
    given = _given(uri, instance, flow, answered, alone)
    return Contact(
        key=f"{aor} {identity or uri}",
        endpoint=endpoint,
        aor=aor,
        uri=uri,
        identity=identity,
        device_id=text(instance).strip("<>").lower() or mac_address(agent, asked.params),
        user_agent=short(agent),
        mobile=says_mobile(asked.uri, asked.params),
        seconds=_granted(given, asked, defaults),
        also=_also(uri, given) if given is not None else (),
    )


def _given(uri: str, instance: bytes, flow: bytes, answered: list[Address], alone: bool) -> Address | None:
    """The contact of the answer that stands for the one that was asked for. A registrar may have written down
    another address (NAT: Asterisk's rewrite_contact, an SBC): then its instance tells, or that there is no other."""
    for found in answered:
        if bare(found.uri) == uri:
            return found
    for found in answered:
        same = param(found.params, b"+sip.instance") == instance and (param(found.params, b"reg-id") or b"") == flow
        if instance and same:
            return found
    return answered[0] if alone and len(answered) == 1 else None


def _also(uri: str, given: Address) -> tuple[str, ...]:
    temporary = param(given.params, b"temp-gruu") or b""
    return tuple(sorted({bare(given.uri), bare(temporary) if temporary else uri} - {uri}))


def _granted(answered: Address | None, wanted: Address, defaults: Defaults) -> int:
    """What holds, in seconds: the registrar's word for this contact, else what the contact asked for, else the headers. What
    was asked to end has ended, whatever else is listed."""
    asked = seconds_of(param(wanted.params, b"expires") or b"")
    if asked == 0 or (asked is None and defaults[1] == 0):
        return 0
    told = seconds_of(param(answered.params, b"expires") or b"") if answered is not None else None
    return next((seconds for seconds in (told, asked, *defaults) if seconds is not None), EXPIRES_DEFAULT_S)
