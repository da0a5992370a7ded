"""An export proves itself; any byte of it that is another one is found, and so is a history that somebody made up."""

import gzip
import hashlib
import io
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.uplink.site import START, chain_of, event_body
from uplink.enrolment import PlatformKey, encoded
from uplink.events import chain_next
from uplink.export import Title, Writer, check, seal
from uplink.keys import PrivateKey
from uplink.proof import Mismatch, Proof, Span
from uplink.receipts import Receipted, receipt_text
from uplink.succession import introduce

SITE = "site-1"
TIME = "2026-11-20T10:00:02.000Z"
PLATFORM, FOLLOWING = PrivateKey.make(), PrivateKey.make()


def events(epoch: str, count: int) -> list[bytes]:
    return [event_body(SITE, epoch, seq, quantity=f"0.{seq % 7}") for seq in range(1, count + 1)]


def receipt(epoch: str, first: int, bodies: list[bytes], key: PrivateKey = PLATFORM) -> Receipted:
    """For all events of `bodies` from `first` on."""
    prev, chain = chain_of(bodies[: first - 1]), chain_of(bodies)
    signed = key.sign(receipt_text(SITE, epoch, first, len(bodies), prev, chain, TIME))
    return Receipted(
        first=first,
        last=len(bodies),
        prev=prev,
        chain=chain,
        server_time=TIME,
        key=key.id,
        public=key.public,
        signature=signed,
    )


def exported(*epochs: tuple[str, list[bytes]], key: PrivateKey = PLATFORM) -> bytes:
    """As `pegcount export` would write it, but for the ledger."""
    file = io.BytesIO()
    writer, proof = Writer(file, Title(site=SITE, program="1.2.3")), Proof(SITE)
    before: Span | None = None
    for epoch, bodies in epochs:
        before = Span(
            epoch=epoch,
            first=1,
            last=len(bodies),
            prev=START,
            chain=chain_of(bodies),
            after_epoch=before.epoch if before else "",
            after_chain=before.chain if before else b"",
        )
        proof.span(before)
        writer.span(before)
        chain = START
        for seq, body in enumerate(bodies, 1):
            chain = chain_next(chain, body)
            proof.event(body)
            writer.event(body, seq, chain)
            if seq in (130, len(bodies)):
                held = receipt(epoch, 131 if seq > 130 else 1, bodies[:seq], key)
                proof.receipt(held)
                writer.receipt(held)
    writer.end(proof.result())
    return file.getvalue()


WHOLE = exported(("e-1", events("e-1", 250)), ("e-2", events("e-2", 30)))


def mismatch(data: bytes) -> Mismatch:
    with pytest.raises(Mismatch) as caught:
        check(io.BytesIO(data))
    return caught.value


def resealed(lines: list[bytes]) -> bytes:
    """What somebody would make who knows the form and changed the lines."""
    packed = gzip.compress(b"\n".join(lines) + b"\n", mtime=0)
    return packed + seal(hashlib.sha256(packed).digest())


def lines_of(data: bytes) -> list[bytes]:
    return gzip.decompress(data).splitlines()[:-1]


def test_it_says_what_it_holds_and_any_tool_reads_it() -> None:
    checked = check(io.BytesIO(WHOLE))
    assert checked.title.program == "1.2.3"
    assert [(span.epoch, span.last) for span in checked.proved.spans] == [("e-1", 250), ("e-2", 30)]
    # 35 weeks of 0.0 to 0.6 make 73.5, then 0.1 to 0.5; 4 weeks make 8.4, then 0.1 and 0.2.
    assert [(each.meter, each.events, each.quantity) for each in checked.proved.sums] == [
        ("voice.minutes", 280, "83.7")
    ]
    lines = [json.loads(line) for line in gzip.decompress(WHOLE).splitlines()]
    assert [line["pegcount"] for line in lines if "pegcount" in line] == [
        "export",
        "epoch",
        "chain",
        "receipt",
        "chain",
        "receipt",
        "epoch",
        "receipt",
        "end",
        "seal",
    ]
    assert gzip.decompress(WHOLE).splitlines()[2:102] == events("e-1", 250)[:100]


def test_the_same_history_gives_the_same_bytes() -> None:
    assert exported(("e-1", events("e-1", 250)), ("e-2", events("e-2", 30))) == WHOLE


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_found(place: int, flip: int) -> None:
    assert mismatch(WHOLE[:place] + bytes([WHOLE[place] ^ flip]) + WHOLE[place + 1 :])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_an_end_that_was_cut_off_is_found(length: int) -> None:
    assert mismatch(WHOLE[:length])


def test_what_was_put_behind_it_is_found() -> None:
    assert mismatch(WHOLE + b"\n")
    assert mismatch(WHOLE + gzip.compress(b"{}"))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_lines_that_were_changed_left_out_doubled_or_moved_are_found_under_a_right_seal(data: st.DataObject) -> None:
    lines = lines_of(WHOLE)
    first, second = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=2, max_size=2, unique=True))
    deed = data.draw(st.sampled_from(["leave out", "double", "swap", "flip"]))
    if deed == "leave out":
        del lines[first]
    elif deed == "double":
        lines.insert(second, lines[first])
    elif deed == "swap":
        lines[first], lines[second] = lines[second], lines[first]
    else:
        place = data.draw(st.integers(0, len(lines[first]) - 1))
        flipped = lines[first][place] ^ data.draw(st.integers(1, 255))
        lines[first] = lines[first][:place] + bytes([flipped]) + lines[first][place + 1 :]
    try:
        checked = check(io.BytesIO(resealed(lines)))
    except Mismatch:
        return
    # What the chain does not cover says nothing of an event: the title, and a chain value less.
    assert checked.proved == check(io.BytesIO(WHOLE)).proved
    assert first == 0 or (deed in ("leave out", "double") and lines_of(WHOLE)[first].startswith(b'{"pegcount":"chain"'))


def test_it_is_found_to_the_hundred_events() -> None:
    lines = lines_of(WHOLE)
    place = next(number for number, line in enumerate(lines) if b'"sequence":"150"' in line)
    lines[place] = lines[place].replace(b'"quantity":"0.3"', b'"quantity":"0.4"')
    found = mismatch(resealed(lines))
    assert (found.epoch, found.sequence, found.what) == ("e-1", 200, "the chain of the export")


def test_what_somebody_made_up_wholly_has_not_the_platforms_receipts() -> None:
    made_up = [event_body(SITE, "e-1", seq, quantity="0.0") for seq in range(1, 251)]
    forged = exported(("e-1", made_up), key=PrivateKey.make())
    assert check(io.BytesIO(forged)).proved.receipts == 2
    with pytest.raises(Mismatch, match="the key of the receipt"):
        check(io.BytesIO(forged), frozenset([PLATFORM.id]))
    assert check(io.BytesIO(WHOLE), frozenset([PLATFORM.id])).proved.keys == [PLATFORM.id]


@pytest.mark.parametrize("data", [b"", b"no export", gzip.compress(b'{"hello": 1}\n'), b"PK\x03\x04" * 100])
def test_another_file_is_no_export(data: bytes) -> None:
    assert mismatch(data)


def test_a_line_without_end_takes_no_memory() -> None:
    packed = gzip.compress(b"x" * (200 << 20), mtime=0)
    found = mismatch(packed + seal(hashlib.sha256(packed).digest()))
    assert found.expected == "at most 1048576 bytes"


def two_keys(told: tuple[PlatformKey, ...]) -> bytes:
    """An export whose second receipt is by the key that came after PLATFORM."""
    file, bodies = io.BytesIO(), events("e", 4)
    writer, proof = Writer(file, Title(site=SITE, program="1.2.3")), Proof(SITE)
    writer.keys(told)
    span = Span(epoch="e", first=1, last=4, prev=START, chain=chain_of(bodies))
    for part in (proof, writer):
        part.span(span)
    for sequence, body in enumerate(bodies, 1):
        proof.event(body)
        writer.event(body, sequence, chain_of(bodies[:sequence]))
        if sequence in (2, 4):
            made = receipt("e", sequence - 1, bodies[:sequence], PLATFORM if sequence == 2 else FOLLOWING)
            proof.receipt(made)
            writer.receipt(made)
    writer.end(proof.result())
    return file.getvalue()


def test_who_knows_one_key_of_the_platform_can_check_receipts_by_all_that_came_after_it() -> None:
    introduced = introduce(PLATFORM, FOLLOWING.public)
    first = PlatformKey(key=PLATFORM.id, public=encoded(PLATFORM.public))
    whole = two_keys((introduced, first))
    proved = check(io.BytesIO(whole), frozenset({PLATFORM.id})).proved
    assert (proved.receipts, set(proved.keys)) == (2, {PLATFORM.id, FOLLOWING.id})
    stranger = PrivateKey.make()
    lie = msgspec.structs.replace(introduce(stranger, FOLLOWING.public), by=PLATFORM.id)
    for told in ((), (first,), (lie, first), (introduced,)):
        with pytest.raises(Mismatch, match="the key of the receipt"):
            check(io.BytesIO(two_keys(told)), frozenset({PLATFORM.id}))
    with pytest.raises(Mismatch, match="the key of the receipt"):
        check(io.BytesIO(whole), frozenset({FOLLOWING.id}))
