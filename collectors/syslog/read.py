"""A file that a syslog daemon wrote: a message a line, or continuation lines behind it. Nothing is stored.

A device is the host that its lines name. Times are the lines' own: with date and year as rsyslog writes them (RFC 3339), else
month, day and time, in UTC and in the year in which the file was last written.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from collectors.contract import Batch, SourceUnavailable
from collectors.syslog.envelope import MESSAGE_MAX_BYTES, unwrap
from collectors.syslog.forms import MARKED
from collectors.syslog.stream import SyslogStream

BATCH_LINES = 20_000
_DAY = "%Y %b %d %H:%M:%S"
SURE = 80
_START = re.compile(rb"(?:[A-Z]{3,9} sips?:\S+ SIP/2\.0|SIP/2\.0 [1-6][0-9]{2} )")
_HEAD = re.compile(rb"<[0-9]{1,3}>|[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} |[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+\S* ")


def sniff(name: str, head: bytes) -> int:
    """Lines with syslog's head, and a SIP message within the first of them."""
    if not _HEAD.match(head):
        return 0
    marked = any(
        form.sent and form.received and (form.sent.search(head) or form.received.search(head)) for form in MARKED
    )
    return SURE if marked or _START.search(head) else 0


def read(path: Path, stream: SyslogStream) -> Iterator[Batch]:
    """All batches of the file. Raises SourceUnavailable where it cannot be read."""
    try:
        with path.open("rb") as file:
            year = datetime.fromtimestamp(path.stat().st_mtime, UTC).year
            at_us, device = 0, ""
            for number, line in enumerate(iter(lambda: file.readline(MESSAGE_MAX_BYTES), b""), 1):
                if _HEAD.match(line):
                    wrapped = unwrap(line.rstrip(b"\n"))
                    at_us, device = _instant(wrapped.time, year) or at_us, wrapped.host or device
                stream.text(device, line.rstrip(b"\n"), at_us, f"line {number}")
                if number % BATCH_LINES == 0:
                    yield _batch(stream)
    except OSError as error:
        raise SourceUnavailable(f"{path} cannot be read: {error.strerror}") from error
    stream.finish()
    yield _batch(stream)


def _batch(stream: SyslogStream) -> Batch:
    records, rejects = stream.drain()
    return Batch(records=records, rejects=rejects, source_time_ms=stream.newest_us // 1000)


def _instant(text: str, year: int) -> int:
    """Microseconds since the epoch, 0 where the text is no time."""
    try:
        told = datetime.fromisoformat(text) if text[:4].isdigit() else datetime.strptime(f"{year} {text}", _DAY)
    except ValueError:
        return 0
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return round(told.timestamp() * 1_000_000)
