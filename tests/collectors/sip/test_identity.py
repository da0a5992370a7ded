"""Who calls, whether the number may be shown, and how far the caller's provider vouches for it."""

import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.records import Call
from collectors.sip.identity import identity
from collectors.sip.message import parse
from tests.collectors.sip.flows import CARRIER, PBX, Exchange, in_order, phone, track

ASSERTED = ("P-Asserted-Identity", '"Jo" <sip:+12125550123@carrier.example>, <tel:+12125550123>')


def from_carrier(*headers: tuple[str, str], caller: str = "anonymous") -> Call:
    return track(Exchange("a", CARRIER, PBX, caller, "101", headers=headers).talk(0, 1, 9)).call


def passport(claims: object) -> str:
    """RFC 8588 section 4's example with these claims, signed by nobody."""
    parts = ({"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": "https://cert.example.org/p.cer"}, claims)
    told = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*told, "c2lnbmF0dXJl")) + ";info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken"


SHAKEN = {"attest": "A", "dest": {"tn": ["12125551213"]}, "iat": 1443208345, "orig": {"tn": "12155551212"}}


@pytest.mark.parametrize("level", ["A", "B", "C"])
def test_a_shaken_token_tells_its_level(level: str) -> None:
    told = from_carrier(("Identity", passport({**SHAKEN, "attest": level})), caller="+12155551212")
    assert told.attestation == level


def test_the_compact_header_of_a_token_is_read_too() -> None:
    assert from_carrier(("y", passport(SHAKEN)), caller="+12155551212").attestation == "A"


def test_of_several_tokens_the_one_that_attests_tells() -> None:
    both = passport({"div": {"tn": "12125551213"}, "iat": 1}), passport({**SHAKEN, "attest": "B"})
    assert from_carrier(("Identity", both[0]), ("Identity", both[1])).attestation == "B"
    assert from_carrier(("Identity", ", ".join(both))).attestation == "B"


@pytest.mark.parametrize(
    "value",
    [
        "..sig;info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken",  # the compact form: nothing to read
        '"CyI4+nAkHrH3ntmaxgr01TMxTmtjP7MASwliNRdupRI1vpkXRvZXx1ja9k0nB2sN";info=<https://x>',  # RFC 4474
        passport({**SHAKEN, "attest": "Z"}),
        passport({**SHAKEN, "attest": 1}),
        passport([1, 2]),
        "a.!!!!.c",
        "a." + "x" * 9_000 + ".c",
        "",
    ],
)
def test_a_token_that_says_nothing_readable_attests_nothing(value: str) -> None:
    told = from_carrier(("Identity", value), caller="+12155551212")
    assert (told.attestation, told.outcome) == ("", "answered")


def test_what_a_carrier_that_verified_it_left_in_the_number_counts_as_well() -> None:
    value = "<sip:+12155551212;verstat=TN-Validation-Passed-B@carrier.example;user=phone>"
    told = from_carrier(("P-Asserted-Identity", value), caller="+12155551212")
    assert (told.attestation, told.caller.number) == ("B", "+12155551212")


@pytest.mark.parametrize("wish", ["id", "user", "full", "header;id", "ID ; critical"])
def test_a_number_that_the_caller_wants_withheld_is_known_and_private(wish: str) -> None:
    told = from_carrier(ASSERTED, ("Privacy", wish))
    assert (told.caller.number, told.private) == ("+12125550123", True)


@pytest.mark.parametrize("wish", ["none", "session", "critical"])
def test_other_wishes_hide_no_number(wish: str) -> None:
    assert not from_carrier(ASSERTED, ("Privacy", wish), caller="+12125550123").private


def test_the_older_header_asks_for_privacy_too() -> None:
    hidden = ("Remote-Party-ID", '"Jo" <sip:+12125550123@x>;party=calling;screen=yes;privacy=full')
    shown = ("Remote-Party-ID", "<sip:+12125550123@x>;party=calling;privacy=off")
    assert (from_carrier(hidden).caller.number, from_carrier(hidden).private) == ("+12125550123", True)
    assert not from_carrier(shown).private


def test_a_caller_who_writes_anonymous_invalid_wants_to_be_nobody() -> None:
    packets = Exchange("a", phone(101), PBX, "anonymous", "102", headers=[ASSERTED]).talk(0, 1, 9)
    invite = packets[0].payload.replace(b"<sip:anonymous@office.example>", b"<sip:anonymous@anonymous.invalid>")
    message = parse(invite)
    assert (identity(message).names[0], identity(message).private) == ("+12125550123", True)


def test_the_callers_own_leg_tells_and_not_the_one_behind_the_phone_system() -> None:
    """A phone system asks its carrier to hide the number of a seat; the call is the seat's."""
    near = Exchange("a", phone(101), PBX, "101", "92125551234")
    far = Exchange(
        "b", PBX, CARRIER, "101", "+12125551234", headers=[("Privacy", "id"), ("Identity", passport(SHAKEN))]
    )
    told = track(in_order(near.talk(0, 5, 65), far.talk(0.1, 4.9, 65))).call
    assert (told.legs, told.private, told.attestation) == (2, False, "")


@given(st.text(max_size=80), st.text(max_size=40))
def test_no_token_and_no_wish_raises(token: str, wish: str) -> None:
    lines = f"Identity: {token}\r\nPrivacy: {wish}".encode("utf-8", "replace")
    head = b"INVITE sip:a@b SIP/2.0\r\nFrom: <sip:1@x>;tag=1\r\nTo: <sip:2@x>\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n"
    identity(parse(head + lines + b"\r\n\r\n"))
