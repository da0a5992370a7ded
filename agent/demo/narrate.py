"""What the demonstration says while it runs: a line for each upload."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from agent.ledger.snapshot import Snapshot
from uplink.uploader import UploadReport

HEAD_EVERY = 20
"""Lines after which the column heads are said again: they scroll off a small terminal."""
HEAD = f"{'':8}  {'heard':<34}  {'metered':<32}  {'sent':<24}  acknowledged"


class Narrator:
    """`told` is handed to the agent, which calls it after each upload. What it tells before `begin` is said then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._snapshot: Callable[[], Snapshot] | None = None
        self._lines = 0
        self._early: list[str] | None = []

    def watch(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    async def told(self, report: UploadReport) -> None:
        assert self._snapshot is not None
        text = line(await asyncio.to_thread(self._snapshot), report)
        if self._early is not None:
            self._early.append(text)
        else:
            self._tell(text)

    def begin(self) -> None:
        early, self._early = self._early or [], None
        for text in early:
            self._tell(text)

    def _tell(self, text: str) -> None:
        if self._lines % HEAD_EVERY == 0:
            self._say(HEAD)
        self._lines += 1
        self._say(text)


def line(snapshot: Snapshot, report: UploadReport) -> str:
    """One upload: totals of what was heard and metered, what this upload sent, and how much stands acknowledged."""
    clock = datetime.fromtimestamp(snapshot.taken_at_ms / 1000).strftime("%H:%M:%S")
    rows = sum(source.legs for source in snapshot.sources if source.kind == "asterisk_cdr")
    messages = sum(source.counters.get("sip", 0) for source in snapshot.sources)
    heard = f"{rows:>6,} CDR rows {messages:>7,} SIP messages"
    metered = f"{snapshot.pipeline.calls:>6,} calls {snapshot.pipeline.events:>7,} events"
    sent = f"{report.sent:>6,} events {report.bytes / 1000:>6.1f} kB"
    return f"{clock}  {heard:<34}  {metered:<32}  {sent:<24}  {_acknowledged(snapshot, report)}"


def _acknowledged(snapshot: Snapshot, report: UploadReport) -> str:
    if report.problem:
        return f"not acknowledged: {report.problem}"
    through = sum(uplink.acked_through for uplink in snapshot.uplinks)
    last = sum(uplink.last_sequence for uplink in snapshot.uplinks)
    return f"{through:>7,} of {last:,}" + _refused(report)


def _refused(report: UploadReport) -> str:
    return f", {report.refused:,} refused" if report.refused else ""
