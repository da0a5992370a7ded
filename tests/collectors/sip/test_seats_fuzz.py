"""Whatever stands in a REGISTER, an OPTIONS or a MESSAGE: nothing raises, and what is known survives a snapshot."""

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.sip.contacts import contacts
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from collectors.sip.text_message import Content, is_silent, segments
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import PBX, at, phone, register
from tests.collectors.sip.test_risk import DIGEST, options

_WORDS = b'< > " ; , = * \\ \xff @ : +sip.instance= ;reg-id=1 ;expires=0 sip:a@b tel:+1 temp-gruu= pn-prid= ;expires=9999999999'
PIECES = st.sampled_from([b" ", b"\t", *_WORDS.split()])
VALUES = st.lists(PIECES, max_size=12).map(b"".join)


@given(st.tuples(VALUES, VALUES, VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_no_contact_raises(wanted: tuple[bytes, ...], granted: tuple[bytes, ...]) -> None:
    for contact in contacts(wanted, granted):
        assert 0 <= contact.seconds < 2**32


@given(
    st.binary(max_size=300), st.sampled_from(["utf-8", "utf-16", "ascii", "idna", "rot13", "hex", "punycode", "", "\0"])
)
def test_no_text_raises(body: bytes, charset: str) -> None:
    for kind in (b"", b"text/plain", b"application/vnd.3gpp.sms"):
        content = Content(kind, charset, body)
        assert segments(content) >= 1
        assert is_silent(content) in (True, False)


EXCHANGES = st.tuples(
    st.integers(0, 5000),
    st.integers(101, 106),
    st.sampled_from([200, 401, 403, 404, 503]),
    st.integers(0, 40),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EXCHANGES, min_size=1, max_size=40), st.integers(0, 80), VALUES)
def test_a_snapshot_anywhere_changes_nothing(
    steps: list[tuple[int, int, int, int, bool]], cut: int, junk: bytes
) -> None:
    packets: list[SipPacket] = []
    for seconds, user, status, number, shared in sorted(steps):
        device = f'<sip:{user}@10.0.1.7>;+sip.instance="<urn:uuid:{user % 2}>"' if shared else ""
        origin = phone(number)
        packets += register(
            seconds,
            str(user),
            cseq=seconds + 1,
            status=status,
            src=origin,
            contact=device,
            headers=DIGEST,
            expires=number * 60,
        )
        packets += options(seconds, origin, PBX, "sipcli/v1" if number % 7 == 0 else "")
    packets.append(
        SipPacket(at(5000), "udp", phone(1), PBX, b"REGISTER sip:x SIP/2.0\r\nContact: " + junk + b"\r\n\r\n")
    )
    limits = Limits(bindings=4, risk_origins=5, transactions=6)
    whole, first, second = Tracker(limits), Tracker(limits), Tracker(limits)
    for packet in packets:
        whole.feed(packet)
    for packet in packets[:cut]:
        first.feed(packet)
    begun = first.drain()[0]
    second.restore(first.snapshot())
    for packet in packets[cut:]:
        second.feed(packet)
    for tracker in (whole, second):
        for hours in range(2, 10):
            tracker.tick(at(hours * 3600))
        tracker.finish(at(40_000))
    assert begun + second.drain()[0] == whole.drain()[0]
    assert second.counters == whole.counters
