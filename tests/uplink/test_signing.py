"""Signatures over requests: what they cover cannot be changed, and no clock judges them."""

import pytest

from uplink.batch import Head, build
from uplink.keys import PrivateKey
from uplink.signing import (
    COVERED,
    COVERED_BATCH,
    INPUT_FIELD,
    SIGNATURE_FIELD,
    BadSignature,
    Signed,
    named_key,
    sign,
    verify,
)

KEY = PrivateKey.make()
URL = "https://meter.example.net/v1/sites/site-1/batches"
CREATED_S = 1_763_632_200
EMPTY = Head(epoch="e-1", first=1, last=0, count=0, prev=bytes(32), chain=bytes(32), head_time_s=CREATED_S)
BATCH = build(EMPTY, [])


def signed(key: PrivateKey = KEY, created_s: int = CREATED_S) -> dict[str, str]:
    return BATCH.headers | sign(key, "POST", URL, BATCH.headers, created_s, "nonce-1")


def proof(headers: dict[str, str], method: str = "POST", url: str = URL) -> Signed:
    return verify(method, url, headers, {KEY.id: KEY.public}.get, COVERED_BATCH)


def test_a_signature_tells_whose_it_is_and_when_it_was_made() -> None:
    assert proof(signed()) == Signed(key_id=KEY.id, created_s=CREATED_S, nonce="nonce-1")
    assert named_key(signed()) == KEY.id


def test_a_clock_that_is_wrong_by_years_is_told_and_judges_nothing() -> None:
    for created_s in (0, 4_102_444_800):
        assert proof(signed(created_s=created_s)).created_s == created_s


@pytest.mark.parametrize("field", ["Meter-Batch", "Content-Digest", "Content-Type"])
def test_nothing_that_is_covered_can_be_changed(field: str) -> None:
    headers = signed()
    headers[field] = headers[field][:-2] + ("1" if headers[field][-2] != "1" else "2") + headers[field][-1]
    with pytest.raises(BadSignature):
        proof(headers)


def test_neither_method_nor_target_can_be_changed() -> None:
    with pytest.raises(BadSignature):
        proof(signed(), method="PUT")
    with pytest.raises(BadSignature):
        proof(signed(), url=URL.replace("site-1", "site-2"))


def test_a_signature_of_another_key_or_of_an_unknown_one_is_none() -> None:
    other = PrivateKey.make()
    with pytest.raises(BadSignature, match="not known"):
        proof(signed(other))
    headers = signed(other)
    headers[INPUT_FIELD] = headers[INPUT_FIELD].replace(other.id, KEY.id)
    with pytest.raises(BadSignature):
        proof(headers)


def test_a_signature_that_covers_less_is_none() -> None:
    bare = {name: value for name, value in BATCH.headers.items() if name == "Content-Digest"}
    headers = BATCH.headers | sign(KEY, "POST", URL, bare, CREATED_S, "n")
    assert verify("POST", URL, headers, {KEY.id: KEY.public}.get, COVERED).key_id == KEY.id
    with pytest.raises(BadSignature, match="covered"):
        proof(headers)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {INPUT_FIELD: "garbage(("},
        {INPUT_FIELD: 'pegcount=("@method");keyid="x";tag="pegcount"', SIGNATURE_FIELD: "pegcount=:AAAA:"},
        {INPUT_FIELD: 'other=("@method");created=1;keyid="x";tag="other"', SIGNATURE_FIELD: "other=:AAAA:"},
        {INPUT_FIELD: "pegcount=1", SIGNATURE_FIELD: "pegcount=1"},
        {INPUT_FIELD: "(" * 2000, SIGNATURE_FIELD: "pegcount=:AAAA:"},
    ],
    ids=str,
)
def test_whatever_else_stands_there_is_no_signature(fields: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        proof(BATCH.headers | fields)


@pytest.mark.parametrize(
    "field", ["", "garbage((", 'a=("@method");tag="pegcount", b=("@method");tag="pegcount";keyid="k"']
)
def test_a_key_is_named_by_one_signature_or_not_at_all(field: str) -> None:
    with pytest.raises(BadSignature):
        named_key({INPUT_FIELD: field} if field else {})
