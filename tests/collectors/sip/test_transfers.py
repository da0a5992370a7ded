"""Transfers between phones that a proxy connects: the phone that is transferred makes the new call itself (RFC 5589)."""

from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import Exchange, codes, in_order, phone, track

PROXY = "10.0.0.20:5060"


def through_proxy(call_id: str, caller: str, callee: str, **more: str) -> tuple[Exchange, Exchange]:
    src, dst = phone(int(caller)), phone(int(callee))
    tags = {"from_tag": f"f{call_id}", "to_tag": f"t{call_id}"}
    headers = [(name.replace("_", "-"), value) for name, value in more.items()]
    return (
        Exchange(call_id, src, PROXY, caller, callee, headers=headers, **tags),
        Exchange(call_id, PROXY, dst, caller, callee, headers=headers, **tags),
    )


def talk(
    hops: tuple[Exchange, Exchange], start: float, answer: float, end: float, by: str = "caller"
) -> list[SipPacket]:
    near, far = hops
    return in_order(near.talk(start, answer, end, by=by), far.talk(start + 0.01, answer - 0.01, end + 0.01, by=by))


def refer(hops: tuple[Exchange, Exchange], seconds: float, refer_to: str) -> list[SipPacket]:
    """The callee asks the caller's phone, over both hops."""
    packets = []
    for number, hop in enumerate(reversed(hops)):
        more = number / 100
        packets.append(hop.request(seconds + more, "REFER", 2, by="callee", headers=[("Refer-To", refer_to)]))
        packets.append(hop.answer(seconds + 0.2 - more, 202, "2 REFER", by="caller"))
    return packets


def test_a_blind_transfer_is_one_call_as_long_as_the_caller_talked_to_both() -> None:
    first = through_proxy("a", "101", "102")
    asked = refer(first, 30, "<sip:103@office.example>")
    told = track(in_order(talk(first, 0, 5, 31), asked, talk(through_proxy("c", "101", "103"), 30.5, 36, 66)))
    assert (told.call.legs, told.call.talk_ms, told.call.offered) == (4, 26_000 + 30_000, ("102", "103"))
    assert codes(told.call) == [("transfer_blind", "102")]


def test_an_attended_transfer_leaves_the_consultation_a_call_of_its_own() -> None:
    first, consultation = through_proxy("a", "101", "102"), through_proxy("b", "102", "103")
    asked = refer(first, 30, "<sip:103@office.example?Replaces=b%3Bto-tag%3Dtb%3Bfrom-tag%3Dfb>")
    last = []
    for hop in through_proxy(
        "c", "101", "103", Replaces="b;to-tag=tb;from-tag=fb"
    ):  # it does not ring (RFC 3891 section 3)
        last += [hop.invite(30.5), hop.accept(30.9), hop.ack(31), hop.bye(60.9), hop.bye_ok(61)]
    told = track(in_order(talk(first, 0, 5, 32), talk(consultation, 20, 24, 31, by="callee"), asked, last))
    one, two = told.calls
    assert (one.dialled, one.legs, one.talk_ms) == ("102", 4, 55_900)
    assert (two.caller.number, two.dialled, two.legs, two.talk_ms) == ("102", "103", 2, 7_000)
    assert codes(one) == [("transfer_attended", "102")]
