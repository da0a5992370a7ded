"""The ways of reading a message, held to each other: what a shorter one tells is what `parse` tells, or it tells nothing."""

from contextlib import suppress

from collectors.sip.address import tag
from collectors.sip.brief import Brief, brief, to_tag
from collectors.sip.glance import Unusual, glance
from collectors.sip.message import Message, parse
from collectors.sip.names import NAMES
from collectors.sip.quick import quick

GLANCED = [name for name in NAMES if name not in (b"Call-ID", b"CSeq", b"From", b"To")]


def agree(data: bytes) -> None:
    short = brief(data)
    if short is None:
        return
    message = parse(data)
    assert short == (message.method, message.status, message.call_id, message.cseq)
    tagged = to_tag(data)
    assert tagged is None or tagged == tag(message.get(b"To"))
    _quick_agrees(data, short, message)
    _glance_agrees(data, message)


def _quick_agrees(data: bytes, short: Brief, message: Message) -> None:
    found = quick(data, short)
    if found is None:
        return
    assert (found.method, found.uri, found.status) == (message.method, message.uri, message.status)
    assert found.body == message.body
    assert found.ends() == message.ends()
    assert message.status or message.problems == []
    for name in NAMES:
        assert found.get(name) == message.get(name)
        if name != b"Via":
            assert found.values(name) == message.values(name)


def _glance_agrees(data: bytes, message: Message) -> None:
    found = glance(data)
    for name in GLANCED:
        with suppress(Unusual):
            value = found.get(name)
            assert message.values(name) == ([value] if value else [])
    with suppress(Unusual):
        assert found.body() == message.body
