"""Voice quality reports of phones (RFC 6035): `application/vq-rtcpxr`, as PUBLISH, NOTIFY and HEP carry it. Pure.

Laws
- `reports` never raises; a body that is no such report gives none, a line that cannot be read is passed over.
- LocalMetrics tell of the stream that the reporting phone receives, RemoteMetrics of the one that it sends (section 4.6).
- What the metrics mark as not measured (RFC 3611 section 4.7: 127, a round trip of 0) is None.
"""

import re

from msgspec import Struct

from collectors.sip.media.endpoint import endpoint
from collectors.sip.media.report import Report

KINDS = (b"VQSessionReport", b"VQIntervalReport", b"VQAlertReport")
LINES_MAX = 256
"""Both sets of metrics have some 40 lines."""

NOT_MEASURED = 127
_BLOCKS = ("localmetrics", "remotemetrics")
_PARAMETER = re.compile(r"(?<![A-Za-z])([A-Za-z]{1,32})=([^\s;]+)")
"""A name is looked for once, where its letters begin: a line of letters alone would take quadratic time."""

Fields = dict[str, str]


class _Body(Struct):
    """`lines`: what stands before the metrics; `blocks`: the metrics, each line by its name."""

    lines: Fields
    blocks: dict[str, Fields]


def reports(body: bytes, at_us: int, call_id: bytes = b"") -> list[Report]:
    """What one body tells, of up to two streams. `call_id` counts where the body has no CallID of its own."""
    if not body.lstrip().startswith(KINDS):
        return []
    parsed = _parse(body)
    told = parsed.lines.get("callid", "").encode() or call_id
    local, remote = _address(parsed.lines, "localaddr"), _address(parsed.lines, "remoteaddr")
    ends = {"localmetrics": (remote, local), "remotemetrics": (local, remote)}
    return [_report(metrics, at_us, told, *ends[name]) for name, metrics in parsed.blocks.items() if metrics]


def _parse(body: bytes) -> _Body:
    lines: Fields = {}
    blocks: dict[str, Fields] = {}
    into = lines
    for line in body.decode("utf-8", "replace").splitlines()[:LINES_MAX]:
        name, colon, value = line.strip().partition(":")
        key = name.strip().lower()
        if key in _BLOCKS:
            into = blocks.setdefault(key, {})
        elif colon:
            into.setdefault(key, value.strip())
    return _Body(lines, blocks)


def _parameters(text: str) -> Fields:
    return {name.upper(): value for name, value in _PARAMETER.findall(text)}


def _address(lines: Fields, name: str) -> tuple[str, int | None]:
    """An end of the media, and the SSRC that it sends with."""
    found = _parameters(lines.get(name, ""))
    try:
        ssrc = int(found["SSRC"], 0) & 0xFFFFFFFF
    except (KeyError, ValueError):
        ssrc = None
    return endpoint(found.get("IP", ""), found.get("PORT", "0")), ssrc


def _report(
    metrics: Fields, at_us: int, call_id: bytes, src: tuple[str, int | None], dst: tuple[str, int | None]
) -> Report:
    delay, quality = _parameters(metrics.get("delay", "")), _parameters(metrics.get("qualityest", ""))
    jitter, round_trip = _number(delay, "IAJ"), _number(delay, "RTD")
    mos, r_factor = _first(quality, "MOSCQ", "MOSLQ"), _first(quality, "RCQ", "RLQ")
    return Report(
        at_us=at_us,
        told_by="vq",
        src=src[0],
        dst=dst[0],
        call_id=call_id,
        ssrc=src[1],
        jitter_us=None if jitter is None else round(jitter * 1000),
        round_trip_us=round(round_trip * 1000) if round_trip else None,
        mos=round(mos * 100) if mos is not None and 1 <= mos <= 5 else None,
        r_factor=round(r_factor) if r_factor is not None and 0 <= r_factor <= 100 else None,
    )


def _first(fields: Fields, *names: str) -> float | None:
    """Conversational quality goes before listening quality: it has the delay in it (ITU-T G.107)."""
    return next((value for name in names if (value := _number(fields, name)) is not None), None)


def _number(fields: Fields, name: str) -> float | None:
    try:
        value = float(fields[name])
    except (KeyError, ValueError):
        return None
    return value if 0 <= value < 1e9 and value != NOT_MEASURED else None
