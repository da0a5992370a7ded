"""Screening: what can be counted is counted, what cannot is refused alone and with its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uplink.site import event_body
from uplink.events import MicroTransaction, encode
from uplink.receiver.screen import Place, screen

PLACE = Place("site-1", "e-1")


def refused(body: bytes) -> str:
    return screen(PLACE, 5, [body])[0].refused


def test_an_event_of_the_agent_is_counted() -> None:
    event = MicroTransaction(
        id="ab",
        meter="call",
        subject="101",
        time_ms=1_795_168_800_123,
        quantity="1",
        unit="call",
        data={"class": "local"},
    )
    (screened,) = screen(PLACE, 5, [encode(event, "urn:pegcount:site:site-1", "e-1", 5, 1_795_168_801_000)])
    assert (screened.refused, screened.id, screened.meter, screened.quantity, screened.unit) == (
        "",
        "ab",
        "call",
        "1",
        "call",
    )
    assert (screened.time_ms, screened.day) == (1_795_168_800_123, "2026-11-20")


def test_an_event_written_by_another_hand_is_counted() -> None:
    assert refused(event_body("site-1", "e-1", 5)) == ""


@pytest.mark.parametrize("quantity", ["0", "1", "-1", "0.000000000001", "-123456789012345678.5"])
def test_exact_decimals_are_quantities(quantity: str) -> None:
    assert refused(event_body("site-1", "e-1", 5, quantity=quantity)) == ""


@pytest.mark.parametrize(
    "quantity", [1, 1.5, None, "", "1e3", "NaN", "Infinity", "1.", ".5", "01", "+1", "1 ", "٣", "9" * 19]
)
def test_anything_else_is_no_quantity(quantity: object) -> None:
    assert refused(event_body("site-1", "e-1", 5, quantity=quantity)) == "bad_quantity"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "electricity"}, "unknown_type"),
        ({"type": ""}, "unknown_type"),
        ({"id": ""}, "bad_id"),
        ({"id": "x" * 129}, "bad_id"),
        ({"id": "a\0b"}, "bad_id"),
        ({"type": "risk.\0"}, "unknown_type"),
        ({"type": "risk." + "x" * 60}, "unknown_type"),
        ({"data": {"quantity": "1", "unit": "a\0b"}}, "bad_unit"),
        ({"data": {"quantity": "1", "unit": "x" * 65}}, "bad_unit"),
        ({"specversion": "0.3"}, "bad_specversion"),
        ({"source": "urn:pegcount:site:site-2"}, "wrong_source"),
        ({"epoch": "e-2"}, "wrong_place"),
        ({"sequence": "6"}, "wrong_place"),
        ({"sequence": "05"}, "wrong_place"),
        ({"sequence": 5}, "not_an_event"),
        ({"time": "2026-11-20"}, "bad_time"),
        ({"time": "2026-13-20T10:00:00Z"}, "bad_time"),
        ({"time": "2026-11-20T10:00:00"}, "bad_time"),
        ({"time": "٢٠٢٦-11-20T10:00:00Z"}, "bad_time"),
        ({"time": ""}, "bad_time"),
        ({"time": None}, "not_an_event"),
        ({"data": {"quantity": "1"}}, "bad_unit"),
        ({"data": {"quantity": "1", "unit": ""}}, "bad_unit"),
        ({"data": []}, "not_an_event"),
        ({"padding": "x" * 70_000}, "too_large"),
    ],
    ids=str,
)
def test_an_event_is_refused_for_its_reason(changes: dict[str, object], code: str) -> None:
    assert refused(event_body("site-1", "e-1", 5, **changes)) == code


@pytest.mark.parametrize("body", [b"null", b"5", b'"text"', b"[]", b"{}", b'{"a":', b"\xff", b"[" * 50_000])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    assert refused(body) == "not_an_event"


def test_c9_an_event_without_a_time_is_refused_never_given_the_receivers() -> None:
    assert refused(event_body("site-1", "e-1", 5).replace(b'"time":', b'"tyme":')) == "not_an_event"


def test_a_day_is_the_utc_day_of_the_event() -> None:
    (screened,) = screen(PLACE, 5, [event_body("site-1", "e-1", 5, time="2026-11-20T23:30:00-05:00")])
    assert screened.day == "2026-11-21"


def test_risk_events_are_taken_beside_the_catalogue() -> None:
    assert refused(event_body("site-1", "e-1", 5, type="risk.register_guessing")) == ""


@pytest.mark.parametrize("more", ["1e999", "[" * 50 + "]" * 50, '{"a": [null, true, 1.5e3]}', '"\\ud83d\\ude00"'])
def test_what_an_event_says_beside_what_is_counted_is_its_own_matter(more: str) -> None:
    assert refused(event_body("site-1", "e-1", 5).replace(b'"padding":""', f'"padding":{more}'.encode())) == ""


@pytest.mark.parametrize("more", [b'"\xff"', b'"\\ud800"', b'"\\x"', b'"\n"', b"01", b"nul"])
def test_but_all_of_it_must_be_json_in_utf_8(more: bytes) -> None:
    assert refused(event_body("site-1", "e-1", 5).replace(b'"padding":""', b'"padding":' + more)) == "not_an_event"


_CHANGES: list[dict[str, object]] = [
    {},
    {"type": "risk.x"},
    {"type": "electricity"},
    {"id": ""},
    {"id": "x" * 129},
    {"id": "a\0b"},
    {"time": "2026-11-20T23:30:00-05:00"},
    {"time": "yesterday"},
    {"quantity": "1e3"},
    {"quantity": 1},
    {"source": "urn:pegcount:site:site-2"},
    {"specversion": "0.3"},
    {"epoch": "e-2"},
    {"sequence": "1"},
    {"data": {"quantity": "1", "unit": "a\0b"}},
    {"data": {"quantity": "1", "unit": ["☎"]}},
    {"data": {"quantity": "1"}},
    {"data": []},
    {"subject": 5},
    {"subject": "Æ ☎"},
    {"padding": "x" * 70_000},
]


@given(st.lists(st.sampled_from(_CHANGES), min_size=1, max_size=6))
def test_an_event_is_judged_alone_whatever_comes_beside_it(batch: list[dict[str, object]]) -> None:
    bodies = [event_body("site-1", "e-1", seq, **changes) for seq, changes in enumerate(batch, 5)]
    alone = [screen(PLACE, seq, [body])[0] for seq, body in enumerate(bodies, 5)]
    assert screen(PLACE, 5, bodies) == alone
    assert screen(PLACE, 5, [*bodies, b"null"])[:-1] == alone
