"""From the file to batches: follows Master.csv, or reads one such file to its end.

Laws
- A batch holds the records of whole lines and the checkpoint behind them: the place in the file together with what the
  decoder must remember, so that both are durable at once.
- While an old file is caught up with, the rows of one call that stand together come in one batch, as they would have live.
- A checkpoint that cannot be read (of another version) means reading the file from its start: records with the same keys.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from collectors.asterisk_cdr.config import AsteriskCdrConfig
from collectors.asterisk_cdr.decode import Decoder, State
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.contract import Batch, Context, Probe, Sink
from collectors.io.tail import Notice, Piece, Tail, next_piece
from collectors.io.tail_plan import Mark
from collectors.records import Reject

TOGETHER_MAX_LINES = 64
"""Rows at the end of a piece that may belong to one call and wait for the next piece: more than a ring group has phones."""


class Checkpoint(Struct, frozen=True):
    mark: Mark | None
    state: State


class AsteriskCdrCollector:
    """Follows one Master.csv until it is cancelled."""

    def __init__(self, config: AsteriskCdrConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._tail = Tail(Path(config.path))
        self._decoder = _decoder(config, context.timezone, None)
        self._counters = {"lines": 0, "legs": 0, "rejects": 0, "checkpoints_unreadable": 0}
        self._heard_at_ms = 0

    async def run(self, sink: Sink, checkpoint: bytes | None) -> None:
        """Raises SourceUnavailable or SourceMisconfigured."""
        kept = self._restored(checkpoint)
        self._tail = Tail(Path(self._config.path), kept.mark)
        self._decoder = _decoder(self._config, self._context.timezone, kept.state)
        try:
            await self._follow(sink)
        finally:
            self._tail.close()

    async def _follow(self, sink: Sink) -> None:
        """While one batch is being committed the next one is decoded: SQLite leaves Python's lock alone then, and before that
        decoding would only keep the ledger from its work. They are handed in one after the other."""
        committing = asyncio.Event()
        on_commit = _from_any_thread(asyncio.get_running_loop(), committing)
        handed_in: asyncio.Future[None] | None = None
        try:
            while True:
                piece = await next_piece(self._tail, self._config.poll_s)
                batch = batch_of(piece, self._tail, self._decoder, on_commit)
                self._count(piece, batch)
                if handed_in is not None:
                    await handed_in
                committing.clear()
                handed_in = asyncio.ensure_future(sink.put(batch))
                if not piece.more:
                    await handed_in
                else:
                    handed_in.add_done_callback(lambda _: committing.set())
                    await committing.wait()
        finally:
            if handed_in is not None:
                handed_in.cancel()

    def probe(self) -> Probe:
        """Counters are explained in the README."""
        return Probe(
            detail=f"{self._tail.state}; times in {self._decoder.zone}",
            heard_at_ms=self._heard_at_ms,
            backlog_bytes=self._tail.backlog_bytes,
            counters={**self._counters, **self._tail.counters},
        )

    def _restored(self, checkpoint: bytes | None) -> Checkpoint:
        if checkpoint:
            try:
                return msgspec.msgpack.decode(checkpoint, type=Checkpoint)
            except msgspec.DecodeError:
                self._counters["checkpoints_unreadable"] += 1
        return Checkpoint(None, State())

    def _count(self, piece: Piece, batch: Batch) -> None:
        self._heard_at_ms = self._context.clock_ms()
        taken = self._tail.mark.line - piece.line + 1 if self._tail.mark and piece.data else 0
        self._counters["lines"] += taken
        self._counters["legs"] += len(batch.records)
        self._counters["rejects"] += len(batch.rejects)


def read(path: Path, config: AsteriskCdrConfig) -> Iterator[Batch]:
    """The batches of one file, from its start to its end; where the zone is to be found and is not, it is UTC. Raises
    OSError where there is no file."""
    path.stat()
    tail, decoder = Tail(path), _decoder(config, "UTC", None)
    try:
        while (piece := tail.look()) is not None:
            yield batch_of(piece, tail, decoder)
        if tail.backlog_bytes:
            yield Batch(rejects=(_reject(_unterminated(path, tail)),))
    finally:
        tail.close()


def _from_any_thread(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    def set_event() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(event.set)

    return set_event


def batch_of(piece: Piece, tail: Tail, decoder: Decoder, on_commit: Callable[[], None] | None = None) -> Batch:
    """Take a piece, or what of it should come at once, and decode it."""
    data = piece.data[: whole_calls(piece.data)] if piece.more else piece.data
    mark = tail.take(data) if data else tail.mark
    legs: list[AsteriskLeg] = []
    rejects = [_reject(notice) for notice in piece.notices]
    if data and mark is not None:
        legs, bad = decoder.decode(data, piece.name, piece.line, mark.generation)
        rejects += bad
    return Batch(
        records=legs,
        rejects=rejects,
        checkpoint=msgspec.msgpack.encode(Checkpoint(mark, decoder.state)),
        source_time_ms=max((leg.ended_at_ms for leg in legs), default=0),
        on_commit=on_commit,
    )


def whole_calls(data: bytes) -> int:
    """How much of these lines ends with a call: all but the last rows with one linked id, where lines have one (that is,
    where they end in a sequence number) and it is not all one call."""
    end = len(data)
    linked, start = _linked(data, end)
    for _ in range(TOGETHER_MAX_LINES):
        if not linked or start <= 0:
            break
        before, earlier = _linked(data, start)
        if before != linked:
            return start
        start = earlier
    return end


def _linked(data: bytes, end: int) -> tuple[bytes, int]:
    """The linked id of the line that ends before `end`, and where that line starts."""
    start = data.rfind(b"\n", 0, end - 1) + 1
    columns = data[start : end - 1].rstrip(b"\r").rsplit(b",", 2)
    return (columns[1] if len(columns) == 3 and columns[2].isdigit() else b""), start


def _decoder(config: AsteriskCdrConfig, site_zone: str, state: State | None) -> Decoder:
    return Decoder(site_zone, config.timezone, config.trunks, state)


def _unterminated(path: Path, tail: Tail) -> Notice:
    assert tail.mark is not None
    with path.open("rb") as file:
        file.seek(tail.mark.offset)
        text = "The file ends within this line; it may be being written."
        return Notice("unterminated_line", text, file.read(2048), f"{path.name}:{tail.mark.line + 1}")


def _reject(notice: Notice) -> Reject:
    key = hashlib.sha256(notice.reason.encode() + (notice.excerpt or notice.message.encode())).hexdigest()
    return Reject(
        key=f"x{key[:31]}",
        reason=notice.reason,
        message=notice.message,
        excerpt=notice.excerpt,
        position=notice.position,
    )
