"""SIP messages as they are met: the tolerant grammar, and shorter ways of reading that must agree with the full one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.sip.address import number_key, read_address, same_number, tag, user
from collectors.sip.brief import brief, to_tag
from collectors.sip.glance import glance
from collectors.sip.message import Malformed, parse
from collectors.sip.quick import quick
from tests.collectors.sip.ways import agree

ODD = b"""INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r
TO :\r
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r
from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r
  ;\r
  tag = 98asjd8\r
Call-ID: odd.ndaksdj@192.0.2.1\r
cseq: 0009\r
  INVITE\r
v: SIP / 2.0 / UDP 192.0.2.2;branch=390skdjuw\r
l: 3\r
\r
v=0trailing"""


def test_folded_lines_compact_names_and_blanks_before_the_colon_are_read() -> None:
    message = parse(ODD)
    assert (message.method, message.cseq, message.call_id) == (b"INVITE", b"9 INVITE", b"odd.ndaksdj@192.0.2.1")
    assert tag(message.get(b"From")) == b"98asjd8"
    assert tag(message.get(b"To")) == b"1918181833n"
    assert user(read_address(message.get(b"From")).uri) == "jdrosen"
    assert (message.body, message.problems) == (b"v=0", [])


PLAIN = (
    b"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 10.0.1.1\r\nFrom: <sip:101@x>;tag=1\r\nTo: <sip:102@x>;tag=2\r\n"
    b"Call-ID: a@b\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


def test_a_usual_message_is_read_the_short_way() -> None:
    assert brief(PLAIN) == (b"", 180, b"a@b", b"1 INVITE")
    assert to_tag(PLAIN) == b"2"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"SIP/2.0 4294967301 better not break the receiver", "status"),
        (b"SIP/2.0 99 Low", "status"),
        (b"SIP/2.0 OK", "status"),
        (b"SIP/7.0 200 OK", "version"),
        (b"INVITE sip:a@b SIP/7.0", "version"),
        (b"INVITE", "start_line"),
        (b"", "no_call_id"),
    ],
)
def test_a_start_line_that_cannot_be_used_is_malformed_with_its_reason(line: bytes, reason: str) -> None:
    head = line or b"INVITE sip:a@b SIP/2.0"
    data = head + (b"\r\nCSeq: 1 INVITE\r\n\r\n" if not line else b"\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n")
    with pytest.raises(Malformed) as caught:
        parse(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("cseq", [b"INVITE", b"x INVITE", b"", b"1", b"-1 INVITE", b"1 INVITE x"])
def test_a_cseq_that_is_none_is_malformed(cseq: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(b"INVITE sip:a@b SIP/2.0\r\nCall-ID: x\r\nCSeq: " + cseq + b"\r\n\r\n")
    assert caught.value.reason == "cseq"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ((b"Content-Length: 0", b"Content-Length: -999"), "content_length"),
        ((b"Content-Length: 0", b"Content-Length: 9999"), "truncated"),
        ((b"Content-Length: 0", b"Content-Length: 0\r\nContent-Length: 5"), "duplicate_content_length"),
        ((b"CSeq: 1 INVITE", b"CSeq: 36893488147419103232 INVITE"), "cseq_number"),
        ((b"From: <sip:101@x>;tag=1", b'From: "unclosed <sip:101@x>;tag=1'), "from_quote"),
        ((b"To: <sip:102@x>", b"To: <sip:102 @x>"), "to_spaces"),
        ((b"From: <sip:101@x>;tag=1\r\n", b""), "from_missing"),
        ((b"Call-ID: a@b", b"Call-ID: a@b\r\nCall-ID: c@d"), "duplicate_call_id"),
    ],
)
def test_what_is_wrong_with_a_usable_message_is_named(change: tuple[bytes, bytes], problem: str) -> None:
    message = parse(PLAIN.replace(*change))
    assert message.problems == [problem]
    assert message.call_id == b"a@b"


def test_the_body_is_as_long_as_content_length_says() -> None:
    data = PLAIN.replace(b"Content-Length: 0", b"Content-Length: 4") + b"bodyINVITE sip:x SIP/2.0\r\n"
    assert parse(data).body == b"body"


# --- addresses


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (b"sip:101@10.0.0.1", "101"),
        (b"sips:+1-212@x:5061;transport=tls", "+1-212"),
        (b"sip:user;par=u%40example.net@example.com", "user;par=u@example.net"),
        (b"sip:+12125550101;phone-context=example.com@x;user=phone", "+12125550101"),
        (b"sip:alice:secret@x", "alice"),
        (b"tel:+1-201-555-0123;ext=4", "+1-201-555-0123"),
        (b"sip:%2a97@x", "*97"),
        (b"sip:null-%00-null@x", "null-%00-null"),
        (b"sip:10.0.0.1", ""),
        (b"nonsense", ""),
    ],
)
def test_the_user_part_of_a_uri(uri: bytes, name: str) -> None:
    assert user(uri) == name


def test_a_display_name_may_hold_anything() -> None:
    value = b'"Bell, A. \\"<sip:not@this>;tag=no\\"" <sip:bell@x;tag=inner>;tag=yes'
    address = read_address(value)
    assert (address.uri, tag(value)) == (b"sip:bell@x;tag=inner", b"yes")


def test_without_brackets_parameters_belong_to_the_header() -> None:
    assert read_address(b"sip:101@x;tag=7").uri == b"sip:101@x"
    assert tag(b"sip:101@x;tag=7") == b"7"


def test_numbers_are_the_same_by_their_last_seven_digits_and_short_ones_only_as_they_are() -> None:
    assert same_number("+12125551234", "92125551234")
    assert not same_number("101", "9101")
    assert not same_number("", "")
    assert number_key("+1212") == "+1212"


# --- the three ways agree

TOKENS = st.sampled_from([b"a", b"z9hG4bK7", b"101", b"x y", b"", b"\xc3\xa9", b'"', b";tag=9", b"<", b">"])
NAME_FORMS = st.sampled_from(
    [b"%b: %b", b"%b:%b", b"%b : %b", b"%b:\r\n %b", b"%b: %b ", b"%b:  %b", b"%b: \t%b", b"%b:\t%b\r\n\tmore"]
)
SPELLINGS = {
    b"Call-ID": [b"Call-ID", b"i", b"call-id", b"CALL-ID", b"Call-Id"],
    b"CSeq": [b"CSeq", b"cseq", b"CSEQ"],
    b"From": [b"From", b"f", b"FROM"],
    b"To": [b"To", b"t", b"to"],
    b"Contact": [b"Contact", b"m", b"contact"],
    b"Content-Length": [b"Content-Length", b"l", b"Content-length"],
    b"Expires": [b"Expires", b"expires"],
    b"Via": [b"Via", b"v"],
    b"Session-Expires": [b"Session-Expires", b"x"],
    b"X-Any": [b"X-Any", b"Subject", b"s"],
}
VALUES = {
    b"Call-ID": st.sampled_from([b"a@b", b"c", b"a b", b"", b"1234567890@10.0.0.1"]),
    b"CSeq": st.sampled_from(
        [b"1 INVITE", b"0009 INVITE", b"2  BYE", b"7 REGISTER", b"0 ACK", b"9999999999 INVITE", b"x"]
    ),
    b"From": st.sampled_from(
        [b"<sip:a@b>;tag=1", b'"A" <sip:a@b>;tag=2', b"sip:a@b;tag=3", b"<sip:a@b>", b'"<sip:x', b""]
    ),
    b"To": st.sampled_from(
        [
            b"<sip:a@b>;tag=1",
            b"<sip:a@b>",
            b'"x>;tag=q" <sip:a@b>',
            b"<sip:a@b>;x=1;tag=5",
            b"<sip:a>;tag=x>",
            b"sip:a;tag=b>",
        ]
    ),
    b"Contact": st.sampled_from([b"<sip:a@b>;expires=5", b"*", b"<sip:a@b>, <sip:c@d>", b"sip:a@b;q=1", b""]),
    b"Content-Length": st.sampled_from([b"0", b"4", b"99", b"-1", b"bad", b""]),
    b"Expires": st.sampled_from([b"60", b"0", b"x"]),
    b"Via": st.sampled_from([b"SIP/2.0/UDP h;branch=z", b"SIP/2.0/UDP h;;x"]),
    b"Session-Expires": st.sampled_from([b"90;refresher=uac", b"90"]),
    b"X-Any": TOKENS,
}


@st.composite
def header(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(sorted(VALUES)))
    usual = draw(st.booleans())
    spelling = SPELLINGS[name][0] if usual else draw(st.sampled_from(SPELLINGS[name]))
    form = b"%b: %b" if usual else draw(NAME_FORMS)
    return form % (spelling, draw(VALUES[name]))


STARTS = st.sampled_from(
    [
        b"INVITE sip:a@b SIP/2.0",
        b"REGISTER sip:b SIP/2.0",
        b"BYE sip:a@b SIP/2.0",
        b"ACK <sip:a@b> SIP/2.0",
        b"INVITE  sip:a@b SIP/2.0",
        b"INVITE sip:a@b SIP/2.0 ",
        b"NEWMETHOD sip:a@b SIP/2.0",
        b"SIP/2.0 200 OK",
        b"SIP/2.0 180",
        b"SIP/2.0 486  Busy",
        b"SIP/2.0 700 No",
        b"sip/2.0 200 OK",
    ]
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Mostly with all that a message needs, in any order, spelled and folded in any way."""
    lines = draw(st.lists(header(), max_size=10))
    if draw(st.booleans()):
        lines += [b"Call-ID: a@b", b"CSeq: 1 INVITE", b"From: <sip:a@b>;tag=1", b"To: <sip:c@d>;tag=2"]
    lines = draw(
        st.permutations([*lines, *draw(st.lists(st.sampled_from([b"To", b"Contact", b"x", b":", b""]), max_size=1))])
    )
    body = draw(st.sampled_from([b"", b"v=0\r\n", b"\r\nCall-ID: inner\r\nTo: <sip:x>;tag=inner\r\n\r\n"]))
    return draw(STARTS) + b"\r\n" + b"\r\n".join([*lines, b""]) + b"\r\n" + body


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """The same with a few octets changed, taken out, or doubled."""
    place = st.integers(0, max(0, len(data) - 1))
    change = st.tuples(place, st.sampled_from([b"", b"\0", b"\r\n", b" ", b"\xff", b'"', b"<", b":", b"9" * 30]))
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _changed(data, changes))


def _changed(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    for at, octets in changes:
        data = data[:at] + octets + data[at + 1 :]
    return data


any_messages = st.one_of(messages(), messages().flatmap(mutated))


def test_a_start_line_that_goes_on_in_the_next_line_is_left_to_the_full_way() -> None:
    for start in (b"BYE sip:102@x SIP/2.0", b"SIP/2.0 200 OK"):
        folded = start + b"\r\n more\r\nCall-ID: a@b\r\nCSeq: 1 BYE\r\nFrom: <sip:101@x>\r\n\r\n"
        assert brief(folded) is None
        assert brief(folded.replace(b"\r\nCSeq: 1 BYE", b"").replace(b"From", b"CSeq: 1 BYE\r\nFrom")) is None


def test_a_to_that_stands_in_the_body_is_none() -> None:
    bodied = PLAIN.replace(b"To: <sip:102@x>;tag=2\r\n", b"")
    assert to_tag(bodied + b"To: <sip:102@x>;tag=2\r\n") is None
    assert to_tag(bodied + b"v=0\r\nTo: <sip:102@x>;tag=2\r\n") is None


def test_of_several_via_the_first_is_read_and_each_is_checked() -> None:
    data = PLAIN.replace(b"SIP/2.0 180 Ringing", b"BYE sip:102@x SIP/2.0").replace(b"1 INVITE", b"1 BYE")
    data = data.replace(b"Via: SIP/2.0/UDP 10.0.1.1\r\n", b"Via: SIP/2.0/UDP a\r\nVia: SIP/2.0/UDP b\r\n")
    found = quick(data, brief(data) or (b"", 0, b"", b""))
    assert found is not None
    assert found.get(b"Via") == b"SIP/2.0/UDP a"
    odd = data.replace(b"UDP a", b"UDP a;;x")
    assert quick(odd, brief(odd) or (b"", 0, b"", b"")) is None
    assert parse(odd).problems == ["separators"]


@settings(deadline=None)
@given(any_messages)
def test_the_short_ways_give_what_the_full_way_gives_or_nothing(data: bytes) -> None:
    agree(data)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=300), messages().flatmap(mutated)))
def test_no_bytes_raise_anything_but_malformed(data: bytes) -> None:
    brief(data)
    try:
        message = parse(data)
    except Malformed:
        return
    assert message.call_id
    tag(message.get(b"To"))
    user(message.uri)


def test_the_ways_do_meet() -> None:
    """The properties above would hold for ways that never give anything."""
    assert quick(PLAIN, brief(PLAIN) or (b"", 0, b"", b"")) is not None
    request = PLAIN.replace(b"SIP/2.0 180 Ringing", b"INVITE sip:102@x SIP/2.0")
    assert quick(request, brief(request) or (b"", 0, b"", b"")) is not None
    assert to_tag(PLAIN) is not None
    assert glance(PLAIN).get(b"Content-Length") == b"0"
