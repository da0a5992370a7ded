"""The full reading of one SIP message (RFC 3261 sections 7 and 25), with the tolerance that the field needs.

Laws
- `parse` returns a `Message` or raises `Malformed`; nothing else comes out of any bytes.
- A message whose start line, Call-ID and CSeq can be read is usable. What else is wrong with it is named in `problems`.
- Where a header that may stand once stands twice, the first one counts. A header that is written out goes before its compact
  form, and Call-ID, CSeq, From and To in their usual spelling before any other, so that the shorter ways of reading agree
  with this one; what stands under the lesser spelling is not taken.
"""

from msgspec import Struct

from collectors.sip.address import URI_MAX_BYTES, address_problem, short, tag, uri_of
from collectors.sip.names import SINGLE, canonical

SEQUENCE_MAX = 2**31 - 1
"""RFC 3261 section 8.1.1.5: a sequence number is less than 2**31."""


METHOD_MAX_BYTES = 64
"""The longest name of a method that is taken for one; the longest registered one has nine letters."""


class Malformed(Exception):
    """These bytes are no usable SIP message. `reason` is a short stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


Parties = tuple[bytes, bytes, bytes]
"""From's URI, From's tag, To's tag."""


class Message(Struct):
    """One message. A request has a `method` and a `uri`, a response a `status`. `cseq` is the sequence number and the
    method in their plain spelling (`1 INVITE`). `first` holds the first value of each header, `more` the others."""

    method: bytes
    uri: bytes
    status: int
    call_id: bytes
    cseq: bytes
    first: dict[bytes, bytes]
    more: list[tuple[bytes, bytes]]
    body: bytes
    problems: list[str]
    parties: Parties | None = None

    def get(self, name: bytes) -> bytes:
        """The first value of the header called `name` (one of `names.NAMES`), or nothing."""
        return self.first.get(name, b"").strip(b" \t")

    def ends(self) -> Parties:
        """Who speaks to whom, read once."""
        if self.parties is None:
            value = self.get(b"From")
            self.parties = uri_of(value), tag(value), tag(self.get(b"To"))
        return self.parties

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header in their order, lines that list several not yet taken apart; empty ones left out."""
        if name not in self.first:
            return []
        found = [self.get(name), *(value for other, value in self.more if other == name)]
        return [value for value in found if value]


def parse(data: bytes) -> Message:
    """Read one message that is all of `data`; octets after the body that Content-Length tells are left alone."""
    data = data.lstrip(b"\r\n")
    head, body, problems = _split(data)
    lines = _lines(head)
    method, uri, status = _start_line(lines[0], problems)
    first, more = _headers(lines, problems)
    call_id = short(first.get(b"Call-ID", b""))
    if not call_id:
        raise Malformed("no_call_id", "the message has no Call-ID, so that it belongs to no call")
    cseq = _cseq(first.get(b"CSeq", b""), method, problems)
    body = _body(first, body, problems)
    message = Message(method, uri, status, call_id, cseq, first, more, body, problems)
    _check_parties(message)
    return message


def _split(data: bytes) -> tuple[bytes, bytes, list[str]]:
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        return data[:end], data[end + 4 :], []
    end = data.find(b"\n\n")
    if end >= 0:
        return data[:end], data[end + 2 :], ["line_ends"]
    return data, b"", ["no_end_of_header"]


def _lines(head: bytes) -> list[bytes]:
    """Header lines, folded ones joined (RFC 3261 section 7.3.1)."""
    lines = head.split(b"\r\n") if b"\r\n" in head else head.split(b"\n")
    if b"\n " not in head and b"\n\t" not in head:
        return lines
    unfolded: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and unfolded:
            unfolded[-1] += b" " + line.strip()
        else:
            unfolded.append(line)
    return unfolded


def _start_line(line: bytes, problems: list[str]) -> tuple[bytes, bytes, int]:
    if line[:4].upper() == b"SIP/":
        return b"", b"", _status(line)
    parts = line.split()
    if len(parts) < 3 or parts[-1][:4].upper() != b"SIP/":
        raise Malformed("start_line", "the first line is neither a request line nor a status line")
    if parts[-1].upper() != b"SIP/2.0":
        raise Malformed("version", f"SIP version {parts[-1][:20]!r} is not 2.0")
    method, uri = parts[0], b" ".join(parts[1:-1])
    if len(parts) > 3 or line != b" ".join(parts) or uri[:1] == b"<":
        problems.append("request_line")
    return method, short(uri.strip(b"<>") if uri[:1] == b"<" else uri, URI_MAX_BYTES), 0


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    if version.upper() != b"SIP/2.0":
        raise Malformed("version", f"SIP version {version[:20]!r} is not 2.0")
    code = rest.split(b" ", 1)[0]
    if len(code) != 3 or not code.isdigit() or not b"100" <= code <= b"699":
        raise Malformed("status", f"status code {code[:20]!r} is not three digits from 100 to 699")
    return int(code)


def _headers(lines: list[bytes], problems: list[str]) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    first: dict[bytes, bytes] = {}
    more: list[tuple[bytes, bytes]] = []
    ranks: dict[bytes, int] = {}
    for line in lines[1:]:
        raw, colon, value = line.partition(b":")
        if not colon:
            problems.append("header_line")
            continue
        name, rank = canonical(raw)
        best = ranks.get(name, -1)
        if best >= 0 and name in SINGLE:
            problems.append("duplicate_" + name.decode().lower().replace("-", "_"))
        if rank > best:
            first[name], ranks[name] = value.strip(b" \t"), rank
            more = [other for other in more if other[0] != name]
        elif rank == best:
            more.append((name, value.strip(b" \t")))
    return first, more


def _cseq(value: bytes, method: bytes, problems: list[str]) -> bytes:
    parts = value.split()
    if len(parts) != 2 or not parts[0].isdigit() or len(parts[1]) > METHOD_MAX_BYTES:
        raise Malformed("cseq", f"CSeq {value[:40]!r} is not a number and a method")
    number = int(parts[0][:20])
    if number > SEQUENCE_MAX or len(parts[0]) > 20:
        problems.append("cseq_number")
        number = SEQUENCE_MAX
    if method and parts[1] != method:
        problems.append("cseq_method")
    return b"%d %b" % (number, parts[1])


def _body(first: dict[bytes, bytes], body: bytes, problems: list[str]) -> bytes:
    value = first.get(b"Content-Length")
    if value is None:
        return body
    if not value.isdigit():
        problems.append("content_length")
        return body
    length = int(value[:10])
    if length > len(body) or len(value) > 10:
        problems.append("truncated")
        return body
    return body[:length]


def _check_parties(message: Message) -> None:
    """Name what is wrong with From, To and Contact; they are still read as far as they go."""
    for name in (b"From", b"To"):
        value = message.get(name)
        if problem := address_problem(value) if value else "missing":
            message.problems.append(f"{name.decode().lower()}_{problem}")
    for value in message.values(b"Via") + message.values(b"Contact"):
        if b";;" in value or b",," in value or b",;" in value:
            message.problems.append("separators")
