"""However a back-to-back user agent disguises what it passes on: as many calls as were placed, no fewer and no more."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import Call
from collectors.sip.origin import origin_of
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from tests.collectors.sip.flows import PBX, Exchange, in_order, phone, sdp, track

CALLS = 200


def description(origin: str, address: str, port: int) -> str:
    return (
        f"v=0\r\no={origin} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 8 101\r\na=sendrecv\r\n"
    )


class Office:
    """Calls of many phones through one phone system; `disguise` says what it changes of the caller's INVITE."""

    def __init__(
        self, seed: int, calls: int, *, disguise: str, span_s: float = 60, constant_origins: bool = False
    ) -> None:
        self.chance = random.Random(seed)
        self.disguise, self.span_s, self.constant_origins = disguise, span_s, constant_origins
        self.answered = 0
        self.packets = in_order(*[part for number in range(calls) for part in self._call(number)])

    def _call(self, number: int) -> list[list[SipPacket]]:
        chance, start = self.chance, self.chance.uniform(0, self.span_s)
        caller, dialled = f"{1000 + number}", f"{5000 + number}"
        address = f"10.{1 + number // 200}.{number % 200}.1:5060"
        body = self._described(address)
        near = Exchange(f"a{number}", address, PBX, caller, dialled)
        shown = (caller, dialled)
        if self.disguise == "names":
            shown = (f"{chance.getrandbits(40):x}", f"{chance.getrandbits(40):x}")
        port = PBX if chance.random() < 0.5 else f"10.0.0.10:{chance.randint(6000, 7000)}"
        far = Exchange(f"b{chance.getrandbits(60):x}", port, phone(number), *shown)
        passed = body if self.disguise == "names" else description(f"- {number} {number}", "10.0.0.10", 20_000 + number)
        if chance.random() < 0.3:
            return [self._unanswered(near, start, 0, body), self._unanswered(far, start + 0.05, 1, passed)]
        self.answered += 1
        return [self._talk(near, start, 0, body), self._talk(far, start + 0.05, -0.05, passed)]

    def _described(self, address: str) -> str:
        """Phones of several offices have the same private address, and the same first port; some the same origin always."""
        host = f"192.168.1.{self.chance.randint(10, 14)}" if self.constant_origins else address.rpartition(":")[0]
        if self.constant_origins:
            return description("- 0 0", host, 16384)
        return description(f"- {self.chance.getrandbits(31) + 10**9} 1", host, self.chance.randrange(10_000, 60_000, 2))

    def _talk(self, one: Exchange, start: float, early: float, body: str) -> list[SipPacket]:
        answer, end = start + 4 + early, start + 200
        return [*self._ring(one, start, body), one.accept(answer), one.ack(answer), one.bye(end), one.bye_ok(end)]

    def _unanswered(self, one: Exchange, start: float, early: float, body: str) -> list[SipPacket]:
        return [*self._ring(one, start, body), one.answer(start + 9 - early, 486), one.ack(start + 9 - early)]

    @staticmethod
    def _ring(one: Exchange, start: float, body: str) -> list[SipPacket]:
        return [one.invite(start, body=body), one.answer(start + 0.01, 100), one.answer(start + 0.3, 180)]


def counted(office: Office) -> tuple[int, int, set[int]]:
    calls = track(office.packets, end=1_000).calls
    return len(calls), sum(call.outcome == "answered" for call in calls), {call.legs for call in calls}


@pytest.mark.parametrize("disguise", ["names", "media"])
def test_two_hundred_calls_at_once_whose_names_or_whose_media_are_disguised(disguise: str) -> None:
    office = Office(7, CALLS, disguise=disguise)
    assert counted(office) == (CALLS, office.answered, {2})


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000), st.integers(1, 25), st.sampled_from(["names", "media"]), st.sampled_from([0.1, 5.0, 300.0])
)
def test_as_many_calls_as_were_placed(seed: int, calls: int, disguise: str, span_s: float) -> None:
    office = Office(seed, calls, disguise=disguise, span_s=span_s)
    assert counted(office) == (calls, office.answered, {2})


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 25))
def test_phones_that_describe_themselves_alike_merge_no_calls_where_names_tell(seed: int, calls: int) -> None:
    """Behind one address translator all first ports are the same; the phone system has media of its own."""
    office = Office(seed, calls, disguise="media", constant_origins=True)
    assert counted(office) == (calls, office.answered, {2})


def passed_on(src: str, body: str) -> list[Call]:
    near, far = Exchange("a", phone(101), PBX, "101", "102"), Exchange("b", src, phone(102), "x", "y")
    first = [near.invite(0, body=body), near.accept(5), near.ack(5.1), near.bye(65), near.bye_ok(65.1)]
    second = [far.invite(0.1, body=body), far.accept(4.9), far.ack(5), far.bye(65), far.bye_ok(65.1)]
    return track(in_order(first, second), site=Site()).calls


UNIQUE = description("- 3724394400 3724394405", "10.0.1.101", 4000)


def test_an_offer_that_is_unique_is_known_wherever_it_comes_from_and_a_constant_one_is_not() -> None:
    constant = description("- 0 0", "10.0.1.101", 4000)
    assert [len(passed_on(src, UNIQUE)) for src in ("10.0.0.10:5080", "203.0.113.5:5060")] == [1, 1]
    assert [len(passed_on(src, constant)) for src in ("10.0.0.10:5080", "203.0.113.5:5060")] == [2, 2]


def test_a_phone_that_offers_the_same_again_places_another_call() -> None:
    packets = [
        Exchange(f"a{number}", phone(101), PBX, "101", f"10{number}").invite(number, body=UNIQUE) for number in range(3)
    ]
    assert len(track(packets).calls) == 3


def test_an_offer_that_two_calls_make_at_once_names_neither() -> None:
    """Test equipment writes one origin always."""
    near = [Exchange(f"a{number}", phone(number), PBX, f"{number}", f"5{number}") for number in (101, 102)]
    far = Exchange("b", PBX, phone(103), "x", "y")
    packets = [*[one.invite(number, body=UNIQUE) for number, one in enumerate(near)], far.invite(2, body=UNIQUE)]
    assert len(track(packets).calls) == 3


def test_what_names_an_offer() -> None:
    assert origin_of(UNIQUE.encode()) == "- 3724394400 3724394405 IN IP4 10.0.1.101 10.0.1.101 4000"
    for old, new in (("IP4 10.0.1.101\r\nt=", "IP4 0.0.0.0\r\nt="), ("o 4000", "o 0"), ("o 4000", "o 9"), ("o=", "x=")):
        assert origin_of(UNIQUE.replace(old, new).encode()) == ""
    in_parts = "--x\r\nContent-Type: application/sdp\r\n\r\n" + UNIQUE + "--x--\r\n"
    assert origin_of(in_parts.encode()) == origin_of(UNIQUE.encode())
    assert origin_of(sdp().encode()) == ""


@given(st.binary(max_size=200))
def test_no_body_raises(body: bytes) -> None:
    origin_of(b"v=0\r\no=- 1234567890 1 IN IP4 x\r\n" + body)
