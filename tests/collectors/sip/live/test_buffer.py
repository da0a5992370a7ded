"""What service and agent exchange, and what the service keeps meanwhile: pure, so tried with everything."""

import asyncio
import contextlib
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.contract import SourceMisconfigured
from collectors.sip.live.blocks import frame_count, frames
from collectors.sip.live.buffer import Buffer
from collectors.sip.live.client import CaptureClient
from collectors.sip.live.source import Frame
from collectors.sip.live.wire import BLOCK, HEAD, HELLO, STATE, Hello, Messages, State, WireError, message, pack, unpack
from tests.collectors.sip.flows import PBX, Exchange, frame_of, phone
from tests.collectors.sip.live.blocks import block

FRAMES = [(packet.at_us, frame_of(packet)) for packet in Exchange("c", phone(1), PBX, "1", "300").talk(0, 1, 2)]


def test_frames_come_out_of_a_block_as_they_went_in_but_for_their_link_addresses() -> None:
    made = block(FRAMES)
    assert frame_count(made) == 7
    assert list(frames(made)) == [Frame(at_us, 1, bytes(12) + frame[12:]) for at_us, frame in FRAMES]


@given(st.data())
def test_a_block_that_is_cut_or_changed_gives_frames_or_the_one_declared_error(data: st.DataObject) -> None:
    made = bytearray(block(FRAMES[:2]))
    for _ in range(data.draw(st.integers(0, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(made[: data.draw(st.integers(0, len(made)))])
    with contextlib.suppress(WireError):
        for _, frame in zip(range(100), frames(cut), strict=False):
            assert len(frame.data) >= 14


@given(st.lists(st.tuples(st.sampled_from([BLOCK, STATE]), st.integers(0, 2**63), st.binary(max_size=50))), st.data())
def test_messages_are_cut_out_of_a_stream_wherever_it_is_cut(
    sent: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(message(*one) for one in sent)
    reader, got, at = Messages(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 40))
        got += reader.feed(stream[at : at + size])
        at += size
    assert got == sent


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_message_or_the_one_declared_error(noise: bytes) -> None:
    with contextlib.suppress(WireError):
        for kind, _, body in Messages().feed(noise):
            unpack(Hello if kind == HELLO else State, body)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5)),
        st.tuples(st.just("send"), st.just(0)),
        st.tuples(st.just("release"), st.integers(0, 40)),
        st.tuples(st.just("begin"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_buffer_keeps_all_that_is_not_released_up_to_its_limit_and_sends_it_in_order(
    steps: list[tuple[str, int]],
) -> None:
    """The model: blocks in a list, the oldest first, and where sending stands."""
    limit, buffer = 600, Buffer(600)
    model: list[tuple[int, int]] = []
    end = following = 0
    for what, number in steps:
        if what == "add":
            buffer.add(number, bytes(100 - HEAD.size))
            model.append((end, end + number))
            end += number
            model = model[-limit // 100 :]
        elif what == "release":
            model = [one for one in model if one[1] > number or one[0] >= following]
            buffer.release(number)
        elif what == "begin":
            buffer.begin(number)
            following = next((first for first, last in model if last > number), end)
        else:
            expected = next((one for one in model if one[0] >= following), None)
            sent = buffer.next()
            assert bool(sent) == bool(expected)
            if expected:
                assert HEAD.unpack_from(sent)[2] == expected[0]
                following = expected[1]
        assert buffer.held_bytes == 100 * len(model)
        assert buffer.first == (model[0][0] if model else end)


def test_one_block_is_kept_however_large_it_is() -> None:
    buffer = Buffer(10)
    buffer.add(1, bytes(100))
    assert buffer.next()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", message(HELLO, 0, b"\xc1"), message(HELLO, 0, pack(Hello(99, b"", 0, 0)))],
    ids=["something else", "no hello", "another version"],
)
def test_what_is_no_capture_service_of_this_release_is_told(answer: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = str(Path(folder) / "s")
        listener.bind(path)
        listener.listen(1)

        def serve() -> None:
            opened, _ = listener.accept()
            opened.sendall(answer)
            opened.recv(1)
            opened.close()

        thread = threading.Thread(target=serve)
        thread.start()

        async def ask() -> str:
            client = CaptureClient(path)
            with pytest.raises(SourceMisconfigured) as told:
                await client.open(None)
            await client.close()
            return told.value.code

        assert asyncio.run(ask()) == "capture_protocol"
        thread.join()
