"""A pcap that is still being written: its frames come whole, wherever it is cut."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.net.frames import Damaged, frames
from collectors.net.pcap_stream import HEAD_BYTES, PcapStream
from tests.collectors.sip.flows import START_US, pcap

FRAMES = [(START_US + n, bytes([n]) * (n * 7)) for n in range(12)]


@given(
    st.lists(st.integers(0, 1200), max_size=12), st.sampled_from("<>"), st.booleans(), st.sampled_from((1, 101, 113))
)
def test_the_frames_are_those_of_the_whole_file_wherever_it_is_cut(
    cuts: list[int], order: str, nanoseconds: bool, link: int
) -> None:
    data = pcap(FRAMES, link, order, nanoseconds)
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    stream, begin, told = PcapStream(), 0, []
    for end in ends:
        told += stream.feed(data[begin:end])
        begin = end
        assert stream.read_to == end or end < HEAD_BYTES
    assert told == list(frames(io.BytesIO(data)))
    assert stream.offset == len(data)


@given(st.integers(0, len(FRAMES)))
def test_it_is_read_on_from_any_frame(at: int) -> None:
    data = pcap(FRAMES)
    offset = len(pcap(FRAMES[:at]))
    stream = PcapStream()
    assert stream.feed(data[:HEAD_BYTES]) == []
    stream.skip_to(offset)
    assert [octets for _, _, octets in stream.feed(data[offset:])] == [octets for _, octets in FRAMES[at:]]


def test_what_is_no_pcap_is_damaged() -> None:
    with pytest.raises(Damaged):
        PcapStream().feed(b"no capture at all, but long enough")
    with pytest.raises(Damaged, match="a frame of"):
        PcapStream().feed(pcap([]) + bytes(8) + b"\xff" * 8)
