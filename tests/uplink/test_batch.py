"""Batches: what travels is what is stored, and only what proves itself is opened."""

import base64
import gzip
import hashlib
import json
import tracemalloc
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uplink.site import START, chain_of, event_body
from uplink import batch
from uplink.batch import BatchError, Head, build, open_batch, parse_head, withhold, write_head

BODIES = [event_body("site-1", "e-1", seq) for seq in (1, 2, 3)]
HEAD = Head(epoch="e-1", first=1, last=3, count=3, prev=START, chain=chain_of(BODIES), head_time_s=1_763_632_200)


def refusal(headers: dict[str, str], body: bytes) -> str:
    with pytest.raises(BatchError) as caught:
        open_batch(headers, body)
    return caught.value.code


def request(raw: bytes, **head: object) -> tuple[dict[str, str], bytes]:
    """A request whose digest is right, whatever its body is."""
    body = gzip.compress(raw)
    changed = msgspec.structs.replace(HEAD, **head)
    return {"Content-Digest": batch.digest_field(body), "Meter-Batch": write_head(changed)}, body


def test_the_body_is_a_cloudevents_batch_of_the_stored_bytes() -> None:
    built = build(HEAD, BODIES)
    raw = gzip.decompress(built.body)
    assert raw == b"[" + BODIES[0] + b"," + BODIES[1] + b"," + BODIES[2] + b"]"
    assert [each["sequence"] for each in json.loads(raw)] == ["1", "2", "3"]
    assert built.headers["Content-Type"] == "application/cloudevents-batch+json"
    assert built.headers["Content-Encoding"] == "gzip"


def test_the_digest_is_over_the_encoded_body_as_rfc_9530_writes_it() -> None:
    built = build(HEAD, BODIES)
    expected = base64.b64encode(hashlib.sha256(built.body).digest()).decode()
    assert built.headers["Content-Digest"] == f"sha-256=:{expected}:"


def test_the_head_is_written_as_the_contract_shows_it() -> None:
    zero, chain = base64.b64encode(START).decode(), base64.b64encode(chain_of(BODIES)).decode()
    assert write_head(HEAD) == (
        f'epoch="e-1", first=1, last=3, count=3, prev=:{zero}:, chain=:{chain}:, head-time=1763632200'
    )


def test_the_same_chunk_makes_the_same_bytes() -> None:
    assert build(HEAD, BODIES) == build(HEAD, BODIES)


def test_a_batch_opens_to_its_head_and_exact_bodies() -> None:
    built = build(HEAD, BODIES)
    assert open_batch(built.headers, built.body) == (HEAD, BODIES)


def test_a_heartbeat_is_an_empty_array() -> None:
    head = Head(epoch="e-1", first=4, last=3, count=0, prev=HEAD.chain, chain=HEAD.chain, head_time_s=1)
    built = build(head, [])
    assert gzip.decompress(built.body) == b"[]"
    assert open_batch(built.headers, built.body) == (head, [])


def test_the_first_head_of_a_later_epoch_names_the_one_before() -> None:
    head = msgspec.structs.replace(HEAD, after_epoch="e-0", after_chain=HEAD.chain)
    assert ', after-epoch="e-0", after-chain=:' in write_head(head)
    assert parse_head(write_head(head)) == head


def test_a_withheld_event_leaves_its_place_in_the_chain_and_nothing_else() -> None:
    head = withhold(msgspec.structs.replace(HEAD, prev=START), BODIES[0], "too_large")
    built = build(head, [])
    opened, bodies = open_batch(built.headers, built.body)
    assert (opened.first, opened.last, opened.count, opened.withheld) == (1, 1, 0, "too_large")
    assert opened.chain == chain_of(BODIES[:1])
    assert bodies == []


def test_a_damaged_ledger_is_not_sent() -> None:
    with pytest.raises(BatchError) as caught:
        build(HEAD, [BODIES[0], BODIES[1], BODIES[2].replace(b"0.1", b"9.1")])
    assert caught.value.code == "chain_mismatch"


def test_a_batch_over_the_encoded_limit_is_not_built() -> None:
    bodies = [event_body("site-1", "e-1", 1, padding=hashlib.shake_256(b"x").hexdigest(600_000))]
    head = msgspec.structs.replace(HEAD, last=1, count=1, chain=chain_of(bodies))
    with pytest.raises(BatchError) as caught:
        build(head, bodies)
    assert caught.value.code == "too_large"


def test_whitespace_between_events_does_not_matter_and_within_them_does() -> None:
    spaced = [b'{ "a" : 1 }', b'{"b":[ 2 ]}']
    raw = b" [ \n" + spaced[0] + b" ,\t" + spaced[1] + b" ] "
    headers, body = request(raw, last=2, count=2, chain=chain_of(spaced))
    assert open_batch(headers, body)[1] == spaced


def test_an_altered_body_is_seen_by_its_digest() -> None:
    built = build(HEAD, BODIES)
    other = build(msgspec.structs.replace(HEAD, last=2, count=2, chain=chain_of(BODIES[:2])), BODIES[:2])
    assert refusal(built.headers, other.body) == "digest_mismatch"


@pytest.mark.parametrize("field", ["", "sha-512=:AAAA:", "sha-256=abc", "sha-256", "nonsense!"])
def test_a_body_without_its_sha_256_is_refused(field: str) -> None:
    built = build(HEAD, BODIES)
    assert refusal(built.headers | {"Content-Digest": field}, built.body) == "digest_mismatch"


def test_events_in_another_order_do_not_give_the_chain() -> None:
    headers, body = request(b"[" + b",".join(reversed(BODIES)) + b"]")
    assert refusal(headers, body) == "chain_mismatch"


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[", b"[1,2,3", b"[1,2,3]x", b"[1,2]", b"[1,,2]", b"[1,2,tru]", b"[" * 100_000, b"\xff\xfe"]
)
def test_what_is_no_array_of_so_many_events_is_refused(raw: bytes) -> None:
    headers, body = request(raw)
    assert refusal(headers, body) == "bad_body"


def test_what_is_no_gzip_is_refused() -> None:
    for body in (b"", b"[]", gzip.compress(b"[]")[:-4], gzip.compress(b"[]") + b"more"):
        headers = {"Content-Digest": batch.digest_field(body), "Meter-Batch": write_head(HEAD)}
        assert refusal(headers, body) == "bad_body"


def test_a_bomb_is_not_inflated() -> None:
    body = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    assert len(body) < batch.ENCODED_MAX_BYTES
    headers = {"Content-Digest": batch.digest_field(body), "Meter-Batch": write_head(HEAD)}
    assert refusal(headers, body) == "too_large"


def test_more_elements_than_the_head_says_are_refused_before_there_are_objects_of_them() -> None:
    digits = Random(7).choices("0123456789", k=900_000)
    body = gzip.compress(f"[{','.join(digits)}]".encode())
    assert len(body) < batch.ENCODED_MAX_BYTES
    headers = {"Content-Digest": batch.digest_field(body), "Meter-Batch": write_head(HEAD)}
    tracemalloc.start()
    assert refusal(headers, body) == "bad_body"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # the inflated body a few times, where its elements take a hundred million


def test_a_body_that_inflates_more_than_events_can_is_refused_though_it_is_small() -> None:
    body = gzip.compress(b"[" + b" " * 4_000_000 + b"]")
    headers = {"Content-Digest": batch.digest_field(body), "Meter-Batch": write_head(HEAD)}
    assert refusal(headers, body) == "too_large"
    body = gzip.compress(b"[" + b" " * 200_000 + b"]")
    headers = {"Content-Digest": batch.digest_field(body), "Meter-Batch": write_head(HEAD)}
    assert refusal(headers, body) == "bad_body"


def test_more_events_than_a_batch_may_have_are_refused_by_their_head() -> None:
    headers, body = request(b"[]", last=1001, count=1001)
    assert refusal(headers, body) == "too_large"


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": ""},
        {"epoch": "e 1"},
        {"epoch": "e" * 65},
        {"first": 0, "last": 2},
        {"first": -1},
        {"count": 2},
        {"last": 10**15 - 1, "count": 1},
        {"prev": b"short"},
        {"chain": b""},
        {"head_time_s": -1},
        {"after_epoch": "e-0", "after_chain": b"short"},
        {"withheld": "too_large"},
        {"withheld": "Two Words", "last": 1, "count": 0},
        {"last": 0, "count": 0},
    ],
    ids=str,
)
def test_a_head_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BatchError) as caught:
        parse_head(write_head(msgspec.structs.replace(HEAD, **change)))
    assert caught.value.code == "bad_head"


@pytest.mark.parametrize("without", ["epoch", "first", "last", "count", "prev", "chain", "head-time"])
def test_a_head_that_lacks_a_member_is_refused(without: str) -> None:
    text = ", ".join(member for member in write_head(HEAD).split(", ") if not member.startswith(without + "="))
    with pytest.raises(BatchError) as caught:
        parse_head(text)
    assert caught.value.code == "bad_head"


def test_members_of_a_later_version_are_passed_over() -> None:
    assert parse_head(write_head(HEAD) + ', sums="later", flag') == HEAD


_chains = st.binary(min_size=32, max_size=32)
_numbers = st.integers(1, 10**14)


@given(
    _numbers,
    st.integers(0, 1000),
    _chains,
    _chains,
    st.integers(0, 10**12),
    st.from_regex(r"[\w.-]{1,64}", fullmatch=True),
)
def test_any_head_is_read_back_as_it_was_written(
    first: int, count: int, prev: bytes, chain: bytes, at: int, epoch: str
) -> None:
    if not epoch.isascii():
        return
    chain = chain if count else prev
    head = Head(epoch=epoch, first=first, last=first + count - 1, count=count, prev=prev, chain=chain, head_time_s=at)
    assert parse_head(write_head(head)) == head


@given(
    st.lists(
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5)
    )
)
def test_any_array_is_split_into_the_bytes_it_was_joined_from(values: list[object]) -> None:
    elements = [json.dumps(value).encode() for value in values]
    assert batch.split(b"[" + b",".join(elements) + b"]", len(elements)) == elements


@given(st.binary(max_size=300))
def test_any_bytes_are_opened_or_refused_and_nothing_else(body: bytes) -> None:
    headers = {"Content-Digest": batch.digest_field(body), "Meter-Batch": write_head(HEAD)}
    assert refusal(headers, body) in ("bad_body", "too_large")
