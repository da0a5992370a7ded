"""How many segments a text is. The figures are those of 3GPP TS 23.038 and 23.040, counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sip.message import parse
from collectors.sip.text_message import Content, content_of, is_silent, segments
from tests.collectors.sip.flows import PBX, phone, track
from tests.collectors.sip.test_registrar import exchange
from tests.collectors.sip.test_registrar import message as built


def text(words: str, charset: str = "utf-8", kind: bytes = b"text/plain") -> Content:
    return Content(kind, charset, words.encode(charset))


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        (text(""), 1),
        (text("a" * 160), 1),
        (text("a" * 161), 2),
        (text("a" * 306), 2),
        (text("a" * 307), 3),
        (text("€" * 80), 1),
        (text("€" * 81), 2),
        (text("a" * 152 + "€" + "a" * 152), 3),
        (text("a" * 152 + "€" + "a" * 151), 2),
        (text("é" * 160, "iso-8859-1"), 1),
        (text("я" * 70), 1),
        (text("я" * 71), 2),
        (text("я" * 134), 2),
        (text("я" * 135), 3),
        (text("😀" * 35), 1),
        (text("😀" * 67), 3),
        (text("я" * 70, "utf-16"), 1),
        (Content(b"text/plain", "utf-8", b"\xff\xfe"), 1),
        (Content(b"text/plain", "no such", b"abc"), 1),
        (Content(b"application/octet-stream", "utf-8", b"a" * 1000), 1),
    ],
)
def test_segments_of_a_text(content: Content, pieces: int) -> None:
    assert segments(content) == pieces


@given(st.text(max_size=2000))
def test_a_longer_text_never_has_fewer_segments(words: str) -> None:
    assert segments(text(words.encode("utf-8", "replace").decode())) >= 1
    assert segments(text("a" * len(words))) <= segments(text("a" * len(words) + "b"))


def test_what_is_wrapped_in_cpim_is_read_inside() -> None:
    """RFC 3862 section 5."""
    inner = "Content-Type: text/plain; charset=utf-8\r\n\r\nяя"
    body = f"From: <im:101@x>\r\nTo: <im:102@x>\r\n\r\n{inner}"
    asked = built("MESSAGE sip:102@x SIP/2.0", [("Call-ID", "c"), ("CSeq", "1 MESSAGE")], body)
    content = content_of(parse(asked.replace(b"application/sdp", b"message/cpim")))
    assert (content.kind, content.charset, content.body.decode()) == (b"text/plain", "utf-8", "яя")


@pytest.mark.parametrize(
    ("content", "silent"),
    [
        (Content(b"application/im-iscomposing+xml", "utf-8", b"<x/>"), True),
        (Content(b"message/imdn+xml", "utf-8", b"<x/>"), True),
        (Content(b"application/vnd.3gpp.sms", "utf-8", b"\x00\x01"), False),
        (Content(b"application/vnd.3gpp.sms", "utf-8", b"\x02\x01"), True),
        (Content(b"text/plain", "utf-8", b"hello"), False),
    ],
)
def test_what_nobody_wrote_is_silent(content: Content, silent: bool) -> None:
    assert is_silent(content) is silent


def test_an_accepted_message_tells_its_segments() -> None:
    for body, pieces in (("hello", 1), ("я" * 100, 2)):
        packets = exchange(5, "MESSAGE", phone(101), PBX, "m", body=body)
        plain = [
            packet.__class__(
                packet.at_us, "udp", packet.src, packet.dst, packet.payload.replace(b"application/sdp", b"text/plain")
            )
            for packet in packets
        ]
        [use] = track(plain).uses
        assert (use.code, use.segments) == ("message", pieces)
