"""Lines of Master.csv -> legs, or rejects. Pure: bytes and the state so far in, records and the state out.

Laws
- One line is one record: a line is judged by itself, whatever stands around it, so that an unterminated quote costs that
  line alone (cdr_csv never writes a line break into a field: it is a record's end).
- 16 columns are always there, five more each by a switch in cdr.conf `[csv]`: `loguniqueid`, `loguserfield`, and
  `newcdrcolumns` for the last three. There is no header; the number of columns says which they are.
- A leg's key holds a hash of the line. Where there is a `sequence`, equal lines are one record. Where there is none, they
  are told apart by counting within the generation of the file: the count is a function of the generation's text up to
  the line, so it is the same after every restart and in every copy.
- Bytes that are not UTF-8 are read as Latin-1, which has a character for each of them.
"""

import csv
from collections.abc import Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import chain, islice

from msgspec import Struct, field

from collectors.asterisk_cdr import conference
from collectors.asterisk_cdr.channel import endpoint
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.asterisk_cdr.stamps import (
    SAMPLE_ROWS,
    SECONDS,
    NoStamp,
    Stamps,
    made_at_s,
    nearest,
    zone_found,
    zone_named,
)
from collectors.records import EXCERPT_MAX_BYTES, Reject

COLUMNS = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata"),
    *("start", "answer", "end", "duration", "billsec", "disposition", "amaflags"),
    *("uniqueid", "userfield", "peeraccount", "linkedid", "sequence"),
)

DISPOSITIONS = frozenset({"ANSWERED", "NO ANSWER", "BUSY", "FAILED", "CONGESTION"})
"""main/cdr.c, ast_cdr_disp2str; CONGESTION only with `congestion=yes`."""

LINES_REMEMBERED = 512
"""Different lines of a file without `sequence` whose equals are counted. Equal lines bear the same end, so they stand
within a second's worth of lines; 512 a second is beyond what one Asterisk ends."""

COUNT_MAX = 2**53
"""Far beyond any sequence number or span, and within what every store and every reader of JSON takes exactly."""

LINE_MAX_BYTES = 64 * 1024
"""As `collectors.io.tail` has it: a line that is found whole is no better than one that is found in parts."""

Row = list[str]


class State(Struct):
    """What must outlive a restart: the zone that was found, the lines that are counted in which generation, and the
    participants of conferences."""

    zone: str = ""
    generation: int = 0
    counted: dict[bytes, int] = {}
    participants: conference.State = field(default_factory=conference.State)


ENDPOINTS_KNOWN = 4096
"""Endpoints of one phone system; scanners that call from the outside invent names without end."""


class _Trunks(dict[str, str]):
    """An endpoint -> itself where it is a trunk, else nothing."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        super().__init__()
        self._patterns = patterns

    def __missing__(self, name: str) -> str:
        if len(self) >= ENDPOINTS_KNOWN:
            self.clear()
        found = name if name and any(fnmatchcase(name, pattern) for pattern in self._patterns) else ""
        self[name] = found
        return found


class Fault(Exception):
    """What is wrong with a line; caught here, where it becomes a Reject."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Decoder:
    """The decoder of one source. `timezone` is an IANA name or `auto`, `site_zone` the name to fall back on, `trunks`
    patterns of endpoint names (`carrier`, `sip-*`)."""

    def __init__(
        self, site_zone: str, timezone: str = "auto", trunks: tuple[str, ...] = (), state: State | None = None
    ) -> None:
        self.state = state or State()
        self._site_zone = site_zone
        self._automatic = timezone == "auto"
        self._stamps = Stamps(zone_named(site_zone if self._automatic else timezone))
        self._zone = ""
        self._trunks = _Trunks(trunks)

    @property
    def zone(self) -> str:
        """The zone in which the stamps are read now."""
        return self._zone or (self._site_zone if self._automatic else str(self._stamps.zone))

    def decode(
        self, data: bytes, name: str, first_line: int, generation: int
    ) -> tuple[list[AsteriskLeg], list[Reject]]:
        """The legs and rejects of whole lines, the first of which is number `first_line` of the file `name`."""
        if generation != self.state.generation:
            self.state.generation = generation
            self.state.counted.clear()
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        if b"\r" in data:
            lines = [line.rstrip(b"\r") for line in lines]
        texts = _texts(data, lines)
        simple = b"\0" not in data and max(map(len, lines), default=0) <= LINE_MAX_BYTES
        rows: Sequence[Row | Fault] = (_rows(texts) if simple else None) or [*map(_row, lines, texts)]
        if self._automatic:
            self._settle_zone(rows)
        legs: list[AsteriskLeg] = []
        rejects: list[Reject] = []
        for number, (line, text, row) in enumerate(zip(lines, texts, rows, strict=True)):
            try:
                if isinstance(row, Fault):
                    raise row
                if row:
                    legs.append(leg := self._leg(line, text, row))
                    if leg.lastapp in conference.APPLICATIONS:
                        legs += conference.related(self.state.participants, (leg,))
            except Fault as fault:
                rejects.append(rejected(fault.reason, str(fault), line, f"{name}:{first_line + number}"))
        return legs, rejects

    def _leg(self, line: bytes, text: str, row: Row) -> AsteriskLeg:
        has_sequence = len(row) >= 19
        if len(row) != 21:
            row = widened(row)
        (
            account, src, dst, dcontext, clid, channel, dstchannel, lastapp, lastdata, start, answer, end,
            duration, billsec, disposition, _, uniqueid, _, _, linkedid, sequence,
        ) = row  # fmt: skip
        try:
            minutes = self._stamps.minutes
            started = minutes[start[:17]] + SECONDS[start[17:]]
            ended = minutes[end[:17]] + SECONDS[end[17:]]
            answered = minutes[answer[:17]] + SECONDS[answer[17:]] if answer else None
            talked, number = int(billsec), int(sequence)
            if int(duration) < 0 or not 0 <= talked <= COUNT_MAX or number > COUNT_MAX:
                raise ValueError
            if ended < started or disposition not in DISPOSITIONS:
                raise ValueError
        except (KeyError, ValueError):
            started, answered, ended, talked, number = self._carefully(row)
        hashed = blake2b(line, digest_size=16).hexdigest()
        key = f"{uniqueid or linkedid}/{number}/{hashed[:16]}" if has_sequence else self._counted(hashed)
        call_key = linkedid or uniqueid or key
        if lastapp in conference.APPLICATIONS:
            call_key = conference.call_key(channel, dst, uniqueid, call_key)
        a, b = endpoint(channel), endpoint(dstchannel) if dstchannel else ""
        return AsteriskLeg(
            key=key,
            call_key=call_key,
            started_at_ms=started,
            ended_at_ms=ended,
            raw=text,
            src=src or _number_of(clid),
            dst=dst,
            dcontext=dcontext,
            channel=channel,
            dstchannel=dstchannel,
            lastapp=lastapp,
            lastdata=lastdata,
            answered_at_ms=answered,
            billsec=talked,
            disposition=disposition,
            uniqueid=uniqueid,
            linkedid=linkedid,
            sequence=number,
            endpoint=a,
            dst_endpoint=b,
            trunk_in=self._trunks[a],
            trunk_out=self._trunks[b],
            account=account,
        )

    def _carefully(self, row: Row) -> tuple[int, int | None, int, int, int]:
        """Start, answer, end, billed seconds and sequence of a row that is wrong, or in a minute not met before, or in an
        hour that the clocks repeat. Raises Fault."""
        if row[14] not in DISPOSITIONS:
            known = ", ".join(sorted(DISPOSITIONS))
            raise Fault("bad_disposition", f"Column 15, disposition, is {row[14]!r}; it can be {known}.")
        duration, talked, sequence = _count(row, 12), _count(row, 13), _count(row, 20)
        starts, ends = self._instants(row, 9), self._instants(row, 11)
        made = made_at_s(row[16])
        if len(ends) == 1:
            started = nearest(starts, ends[0] - duration * 1000)
        else:
            started = next((start for start in starts if made and start >= (made - 2) * 1000), starts[0])
        ended = nearest(ends, started + duration * 1000)
        if ended < started:
            raise Fault("bad_time", f"Column 12, end, is {row[11]!r}, which is before the start, {row[9]!r}.")
        answered = nearest(self._instants(row, 10), ended - talked * 1000) if row[10] else None
        return started, answered, ended, talked, sequence

    def _instants(self, row: Row, column: int) -> tuple[int, ...]:
        try:
            return self._stamps.learn(row[column])
        except NoStamp:
            name = COLUMNS[column]
            text = f"Column {column + 1}, {name}, is {row[column]!r}; a time is written YYYY-MM-DD HH:MM:SS."
            raise Fault("bad_time", text) from None

    def _counted(self, hashed: str) -> str:
        """The key of a line that has no sequence: its hash, and which of its equals in this generation it is."""
        counted, short = self.state.counted, bytes.fromhex(hashed[:24])
        number = counted.get(short, 0) + 1
        counted[short] = number
        if number == 1:
            if len(counted) > LINES_REMEMBERED:
                del counted[next(iter(counted))]
            return hashed
        return f"{hashed}/{number}"

    def _settle_zone(self, rows: Sequence[Row | Fault]) -> None:
        """Find the zone once, and again where the rows of a whole batch contradict it (`usegmtime` was switched)."""
        told = (row for row in rows if isinstance(row, list) and 17 <= len(row) <= 21)
        pairs = [(_uniqueid(row), row[9]) for row in islice(told, SAMPLE_ROWS)]
        found = zone_found(pairs, self._site_zone) if not self.state.zone or len(pairs) >= SAMPLE_ROWS // 2 else ""
        if found:
            self.state.zone = found
        zone = self.state.zone or self._site_zone
        if zone != self._zone:
            self._zone = zone
            self._stamps = Stamps(zone_named(zone))


def rejected(reason: str, message: str, line: bytes, position: str) -> Reject:
    """A reject of a line, with the key that the same line has wherever it is met."""
    excerpt = line[:EXCERPT_MAX_BYTES]
    key = f"x{blake2b(excerpt, digest_size=16).hexdigest()}"
    return Reject(key=key, reason=reason, message=message, excerpt=excerpt, position=position)


def widened(row: Row) -> Row:
    """All 21 columns of a row that has fewer. Raises Fault."""
    columns = len(row)
    fixed, rest = row[:16], row[16:]
    newer = rest[-3:] if 19 <= columns <= 21 else ["", "", "0"]
    optional = rest[:-3] if columns >= 19 else rest
    if columns < 16 or columns > 21:
        raise Fault("column_count", f"The line has {columns} columns; a record of cdr_csv has 16 to 21.")
    if len(optional) == 1:
        optional = [optional[0], ""] if _is_uniqueid(optional[0]) else ["", optional[0]]
    return [*fixed, *(optional or ["", ""]), *newer]


def _is_uniqueid(text: str) -> bool:
    """`1795172587.0`, or with the system's name before it: `pbx-1-1795172587.0`."""
    second, dot, number = text.rpartition(".")
    return bool(dot) and number.isdigit() and second.rpartition("-")[2].isdigit()


def _uniqueid(row: Row) -> str:
    return row[16] if _is_uniqueid(row[16]) else ""


def _count(row: Row, column: int) -> int:
    """A number that cannot be negative. Raises Fault."""
    name, text = COLUMNS[column], row[column]
    try:
        number = int(text)
    except ValueError:
        raise Fault("bad_number", f"Column {column + 1}, {name}, is {text!r}; it must be a whole number.") from None
    if number < 0:
        raise Fault("negative_number", f"Column {column + 1}, {name}, is {text}; it cannot be below zero.")
    if number > COUNT_MAX:
        raise Fault("bad_number", f"Column {column + 1}, {name}, is {text}; no phone system counts so far.")
    return number


def _number_of(clid: str) -> str:
    """`"Alice" <100>` -> `100`: the caller's number where `src` is empty."""
    return clid.rpartition("<")[2].rstrip(">") if clid.endswith(">") else ""


def _texts(data: bytes, lines: list[bytes]) -> list[str]:
    try:
        data.decode()
    except UnicodeDecodeError:
        return [_text(line) for line in lines]
    return [line.decode() for line in lines]


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


_END = "end"


def _rows(texts: list[str]) -> list[Row] | None:
    """The rows of all lines at once, in C; None where they must be read one by one. A line whose quote is not closed takes
    the next one in, so there would be fewer rows than lines; the line after the last one shows it for the last."""
    try:
        rows = list(csv.reader(chain(texts, (_END,))))
    except csv.Error:
        return None
    return rows[:-1] if len(rows) == len(texts) + 1 else None


def _row(line: bytes, text: str) -> Row | Fault:
    """One line by itself."""
    if len(line) > LINE_MAX_BYTES:
        return Fault("line_too_long", f"The line is longer than {LINE_MAX_BYTES} bytes.")
    if b"\0" in line:
        return Fault("null_bytes", "The line holds null bytes, as a file does after a power cut.")
    try:
        rows = list(csv.reader((text, _END)))
    except csv.Error as error:
        return Fault("bad_csv", f"The line is no CSV: {error}.")
    if len(rows) != 2:
        return Fault("unterminated_quote", "A quoted column is not closed at the end of the line.")
    return rows[0]
