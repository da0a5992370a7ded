"""Enrolment against the real receiver: how a machine comes in, changes its key, is shut out, and comes in again."""

import asyncio
import copy
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.uplink.authority import Authority
from tests.uplink.enrolled import SITE, TOKEN, enrol_at, enrolled_shipping, give_token, keys_at, platform_at, rotate_at
from tests.uplink.platform import Ask, Clock, answers, line_to, lost_answer, pass_on, read_message
from tests.uplink.site import MemoryOutbox
from uplink import identity, speaker
from uplink.batch import DIGEST_FIELD, digest_field
from uplink.destinations.pegcount_http import PegcountHttp, PegcountSettings
from uplink.enrol import EnrolmentFailed
from uplink.enrolment import ENROL_PATH, ChangeRequest, EnrolRequest, change_text, encoded, keys_path
from uplink.identity import signature
from uplink.keys import PrivateKey
from uplink.line import CredentialsUnreadable, HttpLine, LineSettings
from uplink.receiver import agents
from uplink.receiver.access import CERTIFICATE, Certified
from uplink.receiver.agents import AgentKey, Agents
from uplink.receiver.enrolling import KIND, Token
from uplink.receiver.platform_key import PlatformKeys
from uplink.receiver.serve import RunningReceiver
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.tokens import token_hash
from uplink.session import Answer, refusal_of
from uplink.speaker import EnrolledElsewhere
from uplink.uploader import wall_clock_ms

HOUR_MS = 3_600_000


@pytest.fixture
async def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningReceiver]:
    """One that reads each key anew, so that no test has to wait."""
    monkeypatch.setattr(agents, "CACHE_S", 0.0)
    async with platform_at(tmp_path) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site" / "identity"


async def keys_of(receiver: RunningReceiver) -> list[AgentKey]:
    return await keys_at(receiver.store)


async def states(receiver: RunningReceiver) -> dict[str, str]:
    return {key.key: key.state for key in await keys_of(receiver)}


async def token_now(receiver: RunningReceiver) -> Token:
    document = await receiver.store.get(KIND, token_hash(TOKEN))
    assert document is not None
    return msgspec.json.decode(document.body, type=Token)


async def upload(
    receiver: RunningReceiver, folder: Path, outbox: MemoryOutbox | None = None, clock: Clock | None = None
) -> tuple[str, MemoryOutbox]:
    """The problem on which an upload of one more event ended, or nothing."""
    outbox = outbox or MemoryOutbox(SITE)
    outbox.record()
    async with enrolled_shipping(outbox, receiver.url, folder, clock) as shipper:
        return (await shipper.upload()).problem, outbox


async def test_a_machine_enrols_and_reports_without_any_token(receiver: RunningReceiver, folder: Path) -> None:
    await give_token(receiver.store)
    enrolment = await enrol_at(receiver.url, folder)
    assert (enrolment.answer.site, enrolment.answer.provider) == (SITE, "acme")
    problem, outbox = await upload(receiver, folder)
    assert (problem, outbox.acked) == ("", 1)
    (key,) = await keys_of(receiver)
    assert (key.state, key.site, key.machine, key.version) == ("active", SITE, "pbx-1", "1.0")


async def test_the_private_key_is_its_owners_alone_and_the_token_is_kept_nowhere(
    receiver: RunningReceiver, folder: Path, tmp_path: Path
) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    (key,) = folder.glob("*.pem")
    assert (key.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert kept == []


async def send_raw(receiver: RunningReceiver, request: bytes) -> tuple[int, str]:
    """Status and code of what the receiver says to a request as it was on the line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(receiver.url.rpartition(":")[2]))
    writer.write(request)
    answer = await read_message(reader)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body).get("code", "")


async def test_a_request_that_comes_again_is_refused_heartbeats_too(receiver: RunningReceiver, folder: Path) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    outbox = MemoryOutbox(SITE)
    async with line_to(receiver) as line, enrolled_shipping(outbox, line.url, folder) as shipper:
        for _ in range(3):
            assert (await shipper.upload()).problem == ""
        assert len(set(line.requests)) == 3
        for request in line.requests:
            assert await send_raw(receiver, request) == (409, "replayed")
        line.faults = [replayed_first]
        assert (await shipper.upload()).problem == "replayed"
        assert (await shipper.upload()).problem == ""


async def replayed_first(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
    """Something on the way sends a request twice, and passes the second answer on."""
    await ask()
    await pass_on(writer, request, ask)


async def test_a_lost_answer_is_asked_for_again_and_makes_no_second_agent(
    receiver: RunningReceiver, folder: Path
) -> None:
    await give_token(receiver.store)
    async with line_to(receiver) as line:
        line.faults = [lost_answer(), lost_answer(40), answers("502 Bad Gateway"), answers("200 OK", b"<html>")]
        for code in ("reset", "reset", "server_error", "captive_portal"):
            with pytest.raises(EnrolmentFailed) as failed:
                await enrol_at(line.url, folder)
            assert failed.value.code == code
            assert identity.load(folder) is None
        enrolment = await enrol_at(line.url, folder)
        assert await enrol_at(line.url, folder) == enrolment
    assert [key.agent for key in await keys_of(receiver)] == [enrolment.answer.agent]
    assert (await token_now(receiver)).uses_left == 0


async def test_a_token_without_a_site_makes_a_new_one_for_each_machine(
    receiver: RunningReceiver, tmp_path: Path
) -> None:
    await give_token(receiver.store, site="", uses_left=2)
    sites = {(await enrol_at(receiver.url, tmp_path / name)).answer.site for name in "ab"}
    assert len(sites) == 2
    assert SITE not in sites


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ({}, ""),
        ({"uses_left": 0}, "token_used"),
        ({"expires_ms": 1}, "token_expired"),
        ({"expires_ms": 4_102_444_800_000}, ""),
    ],
    ids=str,
)
async def test_a_token_is_good_until_its_end_and_for_so_many(
    receiver: RunningReceiver, folder: Path, token: dict[str, object], code: str
) -> None:
    await give_token(receiver.store, **token)
    if code:
        with pytest.raises(EnrolmentFailed) as failed:
            await enrol_at(receiver.url, folder)
        assert failed.value.code == code
        assert await keys_of(receiver) == []
    else:
        await enrol_at(receiver.url, folder)


async def test_a_stolen_token_that_was_used_enrols_nobody_else(receiver: RunningReceiver, tmp_path: Path) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, tmp_path / "owner")
    with pytest.raises(EnrolmentFailed) as failed:
        await enrol_at(receiver.url, tmp_path / "thief")
    assert failed.value.code == "token_used"
    with pytest.raises(EnrolmentFailed) as failed:
        await enrol_at(receiver.url, tmp_path / "guesser", "another-token")
    assert failed.value.code == "token_unknown"
    assert len(await keys_of(receiver)) == 1


async def test_of_many_that_come_at_once_with_one_token_one_is_taken(tmp_path: Path, postgres_url: str) -> None:
    """Through two receivers over one store."""
    database = {"database": postgres_url}
    async with platform_at(tmp_path, **database) as one, platform_at(tmp_path, **database) as other:
        await give_token(one.store)
        asked = [enrol_at((one, other)[n % 2].url, tmp_path / f"machine-{n}") for n in range(8)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [each.code for each in outcomes if isinstance(each, EnrolmentFailed)]
        assert refused == ["token_used"] * 7
        assert len(await keys_of(one)) == 1
        keys = [await PlatformKeys(each.store, 1).public() for each in (one, other)]
        assert keys[0] == keys[1]


async def test_a_key_whose_private_half_is_not_there_is_not_registered(receiver: RunningReceiver, folder: Path) -> None:
    await give_token(receiver.store)
    victim, thief = PrivateKey.make(), PrivateKey.make()
    body = msgspec.json.encode(EnrolRequest(public_key=encoded(victim.public)))
    url = receiver.url + ENROL_PATH
    headers = {"Authorization": f"Bearer {TOKEN}", DIGEST_FIELD: digest_field(body)}
    line = HttpLine(LineSettings(url=receiver.url))
    try:
        for signed in ({}, signature(thief, "POST", url, headers), signature(victim, "POST", url + "x", headers)):
            answer = await line.post(url, body, headers | signed)
            assert isinstance(answer, Answer)
            assert (answer.status, refusal_of(answer)[0]) == (401, "bad_signature")
        wrong = headers | signature(victim, "POST", url, headers)
        answer = await line.post(url, body + b" ", wrong)
        assert isinstance(answer, Answer)
        assert refusal_of(answer)[0] == "digest_mismatch"
    finally:
        await line.close()
    assert await keys_of(receiver) == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"public_key": "AAAA"}', b'{"public_key": "=="}', b"\xff", b"[" * 3000], ids=str
)
async def test_what_is_no_request_is_refused(receiver: RunningReceiver, body: bytes) -> None:
    await give_token(receiver.store)
    line = HttpLine(LineSettings(url=receiver.url))
    answer = await line.post(
        receiver.url + ENROL_PATH, body, {"Authorization": f"Bearer {TOKEN}", DIGEST_FIELD: digest_field(body)}
    )
    await line.close()
    assert isinstance(answer, Answer)
    assert (answer.status, refusal_of(answer)[0]) == (400, "bad_request")


async def test_an_enrolled_key_speaks_for_its_own_site_and_reads_nothing(
    receiver: RunningReceiver, folder: Path
) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    known = identity.load(folder)
    assert known is not None
    headers = {DIGEST_FIELD: digest_field(b"")}
    line = HttpLine(LineSettings(url=receiver.url))
    for path in ("/v1/sites/{}", "/v1/sites/{}/totals", "/v1/sites/{}/events"):
        url = receiver.url + path.format(SITE)
        answer = await line.request("GET", url, b"", headers | signature(known.key, "GET", url, headers))
        assert isinstance(answer, Answer)
        assert answer.status == 401
    await line.close()
    outbox = MemoryOutbox("another-site")
    with pytest.raises(EnrolledElsewhere, match="another-site"):
        async with enrolled_shipping(outbox, receiver.url, folder):
            pass
    with pytest.raises(EnrolmentFailed) as failed:
        await change_of(receiver, known.key, "another-site")
    assert failed.value.code == "forbidden"


async def change_of(receiver: RunningReceiver, old: PrivateKey, site: str, proved: bool = True) -> Answer:
    new = PrivateKey.make()
    proof = (new if proved else old).sign(change_text(site, old.id, new.id))
    body = msgspec.json.encode(ChangeRequest(public_key=encoded(new.public), proof=encoded(proof)))
    url, headers = receiver.url + keys_path(site), {DIGEST_FIELD: digest_field(body)}
    line = HttpLine(LineSettings(url=receiver.url))
    answer = await line.post(url, body, headers | signature(old, "POST", url, headers))
    await line.close()
    assert isinstance(answer, Answer)
    if answer.status != 200:
        raise EnrolmentFailed(*refusal_of(answer))
    return answer


async def test_a_clone_with_the_same_key_is_found_and_numbers_anew(
    receiver: RunningReceiver, folder: Path, tmp_path: Path
) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    _, first = await upload(receiver, folder)
    shutil.copytree(folder, tmp_path / "clone")
    clone = copy.deepcopy(first)
    first.record(id="at the first")
    assert (await upload(receiver, folder, first))[0] == ""
    clone.record(id="at the clone")
    assert (await upload(receiver, tmp_path / "clone", clone))[0] == ""
    assert (first.epochs_begun, clone.epochs_begun) == ([], ["conflict"])
    assert clone.acked == len(clone.bodies)
    epochs = await receiver.store.epochs(SITE)
    assert [epoch.epoch for epoch in epochs] == [first.epoch, clone.epoch]


async def test_a_new_key_takes_over_when_it_is_first_used(receiver: RunningReceiver, folder: Path) -> None:
    await give_token(receiver.store)
    first = (await enrol_at(receiver.url, folder)).answer
    _, outbox = await upload(receiver, folder)
    shutil.copytree(folder, folder.parent / "before")
    second = (await rotate_at(receiver.url, folder)).answer
    assert (second.agent, second.site) == (first.agent, first.site)
    assert await states(receiver) == {first.key: "active", second.key: "new"}
    assert (await upload(receiver, folder.parent / "before", outbox))[0] == ""
    assert (await upload(receiver, folder, outbox))[0] == ""
    assert await states(receiver) == {first.key: "retired", second.key: "active"}
    assert (await upload(receiver, folder.parent / "before", outbox))[0] == "revoked"
    assert (await upload(receiver, folder, outbox))[0] == ""
    assert [path.name for path in folder.glob("*.pem")] == [f"{second.key}.pem"]


async def test_a_change_of_key_whose_answer_is_lost_is_gone_on_with(receiver: RunningReceiver, folder: Path) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    _, outbox = await upload(receiver, folder)
    async with line_to(receiver) as line:
        line.faults = [lost_answer(), lost_answer(60)]
        for _ in range(2):
            with pytest.raises(EnrolmentFailed, match=r"Disconnected|payload"):
                await rotate_at(line.url, folder)
            assert (await upload(receiver, folder, outbox))[0] == ""
        await rotate_at(line.url, folder)
    assert (await upload(receiver, folder, outbox))[0] == ""
    assert sorted((await states(receiver)).values()) == ["active", "retired"]


async def test_an_enrolled_machine_may_ask_again_by_its_token_whatever_its_key_is_now(
    receiver: RunningReceiver, folder: Path
) -> None:
    await give_token(receiver.store, expires_ms=wall_clock_ms() + HOUR_MS)
    first = await enrol_at(receiver.url, folder)
    changed = await rotate_at(receiver.url, folder)
    assert (await enrol_at(receiver.url, folder)).answer.key == changed.answer.key
    assert identity.read_enrolment(folder) == changed
    assert first.answer.agent == changed.answer.agent
    await give_token(receiver.store, "another")
    with pytest.raises(EnrolmentFailed) as failed:
        await enrol_with(receiver, folder, "another")
    assert failed.value.code == "key_known"


async def enrol_with(receiver: RunningReceiver, folder: Path, token: str) -> None:
    """Enrol the key that is there already by another token."""
    known = identity.read_enrolment(folder)
    assert known is not None
    identity.take(folder, msgspec.structs.replace(known, token_sha256=token_hash(token)))
    await enrol_at(receiver.url, folder, token)


async def everything(receiver: RunningReceiver, folder: Path, token: str, outbox: MemoryOutbox) -> None:
    """Enrol, report, change the key, report. Raises EnrolmentFailed where a step does not come through."""
    await enrol_at(receiver.url, folder, token)
    for step in range(2):
        if problem := (await upload(receiver, folder, outbox))[0]:
            raise EnrolmentFailed(problem, "")
        if step == 0:
            await rotate_at(receiver.url, folder)


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
async def test_a_store_that_fails_at_any_step_leaves_nothing_that_cannot_be_gone_on_with(
    receiver: RunningReceiver, tmp_path: Path, after: bool
) -> None:
    """As a receiver that dies there."""
    real, left = receiver.store.put, 0

    async def put(*args: Any) -> int | None:
        nonlocal left
        left -= 1
        if left == 0 and not after:
            raise StoreUnavailable("it died")
        revision = await real(*args)
        if left == 0:
            raise StoreUnavailable("it died")
        return revision

    receiver.store.put = put  # type: ignore[method-assign]
    for step in range(1, 100):
        site, token, folder = f"site-{step}", f"token-{step}", tmp_path / f"state-{step}"
        left, outbox = 0, MemoryOutbox(f"site-{step}")
        await give_token(receiver.store, token, site=site)
        left = step
        try:
            await everything(receiver, folder, token, outbox)
            came_through = left > 0
        except EnrolmentFailed:
            came_through = False
        left = 0
        await everything(receiver, folder, token, outbox)
        assert outbox.acked == len(outbox.bodies)
        keys = [key for key in await keys_of(receiver) if key.site == site]
        assert [key.state for key in keys].count("active") == 1
        assert len({key.agent for key in keys}) == 1
        if came_through:
            assert step > 8
            return


async def test_a_change_needs_both_keys(receiver: RunningReceiver, folder: Path) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    known = identity.load(folder)
    assert known is not None
    with pytest.raises(EnrolmentFailed) as failed:
        await change_of(receiver, known.key, SITE, proved=False)
    assert failed.value.code == "bad_signature"
    with pytest.raises(EnrolmentFailed) as failed:
        await change_of(receiver, PrivateKey.make(), SITE)
    assert failed.value.code == "unknown_key"


async def test_a_revoked_machine_keeps_everything_and_goes_on_when_it_is_enrolled_again(
    receiver: RunningReceiver, folder: Path
) -> None:
    await give_token(receiver.store)
    first = (await enrol_at(receiver.url, folder)).answer
    _, outbox = await upload(receiver, folder)
    await Agents(receiver.store).change(first.key, "revoked", 1)
    assert (await upload(receiver, folder, outbox))[0] == "revoked"
    assert outbox.acked == 1
    for ask in (rotate_at(receiver.url, folder), enrol_at(receiver.url, folder)):
        with pytest.raises(EnrolmentFailed) as failed:
            await ask
        assert failed.value.code == "revoked"
    await give_token(receiver.store, "a-second-token")
    second = (await enrol_at(receiver.url, folder, "a-second-token")).answer
    assert (await upload(receiver, folder, outbox))[0] == ""
    assert (outbox.acked, outbox.epochs_begun) == (3, [])
    assert await states(receiver) == {first.key: "revoked", second.key: "active"}


async def test_a_lost_key_is_replaced_by_a_token_and_the_old_one_is_out(
    receiver: RunningReceiver, folder: Path, tmp_path: Path
) -> None:
    await give_token(receiver.store, uses_left=3)
    first = (await enrol_at(receiver.url, folder)).answer
    _, outbox = await upload(receiver, folder)
    overtaken = (await enrol_at(receiver.url, tmp_path / "overtaken")).answer
    second = (await enrol_at(receiver.url, tmp_path / "new")).answer
    assert (await upload(receiver, tmp_path / "new", outbox))[0] == ""
    assert (await states(receiver))[first.key] == "retired"
    assert (await states(receiver))[second.key] == "active"
    assert (await upload(receiver, tmp_path / "overtaken", outbox))[0] == "revoked"
    assert (await states(receiver))[overtaken.key] == "new"


@pytest.mark.parametrize("off_ms", [-27 * HOUR_MS, 27 * HOUR_MS])
async def test_a_clock_that_is_wrong_by_more_than_a_day_hinders_nothing(
    receiver: RunningReceiver, folder: Path, monkeypatch: pytest.MonkeyPatch, off_ms: int
) -> None:
    wrong = Clock(wall_clock_ms() + off_ms)
    monkeypatch.setattr(identity, "wall_clock_ms", wrong)
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    problem, outbox = await upload(receiver, folder, clock=wrong)
    assert (problem, outbox.acked) == ("", 1)
    await rotate_at(receiver.url, folder)
    assert (await upload(receiver, folder, outbox, wrong))[0] == ""
    (epoch,) = await receiver.store.epochs(SITE)
    assert abs(epoch.skew_ms - off_ms) < 60_000


async def test_behind_a_proxy_the_public_address_is_the_one_that_is_signed(tmp_path: Path, folder: Path) -> None:
    async with (
        platform_at(tmp_path, public_url="https://meter.example.net/pegcount/") as receiver,
        line_to(receiver) as line,
    ):
        await give_token(receiver.store)
        key = PrivateKey.make()
        body = msgspec.json.encode(EnrolRequest(public_key=encoded(key.public)))
        headers = {"Authorization": f"Bearer {TOKEN}", DIGEST_FIELD: digest_field(body)}
        opened = HttpLine(LineSettings(url=line.url))
        for url, status in ((line.url, 401), ("https://meter.example.net/pegcount", 200)):
            signed = signature(key, "POST", url + ENROL_PATH, headers)
            answer = await opened.post(line.url + ENROL_PATH, body, headers | signed)
            assert isinstance(answer, Answer)
            assert answer.status == status
        await opened.close()


async def test_a_signed_field_that_stands_twice_is_no_proof(receiver: RunningReceiver, folder: Path) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    outbox = MemoryOutbox(SITE)
    outbox.record()
    async with line_to(receiver) as line, enrolled_shipping(outbox, line.url, folder) as shipper:
        line.faults = [answers("503 Service Unavailable")]
        await shipper.upload()
        (request,) = line.requests
    for field in (b"Meter-Batch: ", b"Content-Digest: ", b"Signature: "):
        doubled = request.replace(field, field + b"x=1\r\n" + field, 1)
        assert await send_raw(receiver, doubled) == (401, "bad_signature")
    assert (await send_raw(receiver, request))[0] == 200


async def test_a_private_authority_or_a_pin_is_trusted_and_nothing_else(tmp_path: Path, folder: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "another authority")
    server = authority.issue("server")
    async with platform_at(tmp_path, certificate=str(server.certificate), key=str(server.key)) as receiver:
        await give_token(receiver.store)
        for trust in ({}, {"ca_file": str(other.ca_file)}, {"pin": "0" * 64}):
            with pytest.raises(EnrolmentFailed) as failed:
                await enrol_at(receiver.url, folder, **trust)
            assert failed.value.code == "tls"
        await enrol_at(receiver.url, folder, ca_file=str(authority.ca_file))
        outbox = MemoryOutbox(SITE)
        for trust in ({"ca_file": str(authority.ca_file)}, {"pin": server.sha256}):
            outbox.record()
            async with enrolled_shipping(outbox, receiver.url, folder, **trust) as shipper:
                assert (await shipper.upload()).problem == ""


async def test_a_client_certificate_speaks_for_its_site_without_token_or_key(tmp_path: Path, folder: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "another authority")
    server, ours, unknown, foreign = (
        authority.issue("server"),
        authority.issue("ours"),
        authority.issue("unknown"),
        other.issue("foreign"),
    )
    tls = {"certificate": str(server.certificate), "key": str(server.key), "client_ca": str(authority.ca_file)}
    outbox = MemoryOutbox(SITE)
    async with platform_at(tmp_path, **tls) as receiver:
        await receiver.store.put(CERTIFICATE, ours.sha256, msgspec.json.encode(Certified(site=SITE)))
        for shown, site, problem in (
            (ours, SITE, ""),
            (ours, "another-site", "forbidden"),
            (unknown, SITE, "unauthorized"),
            (foreign, SITE, "tls"),
        ):
            outbox = MemoryOutbox(site)
            line = {"certificate": str(shown.certificate), "key_file": str(shown.key)}
            async with enrolled_shipping(
                outbox, receiver.url, folder, ca_file=str(authority.ca_file), **line
            ) as shipper:
                assert (await shipper.upload()).problem in (problem, "reset" if problem == "tls" else problem)
                assert shown is not unknown or f"certificate {unknown.sha256} is not known" in shipper.backoff.detail
        await give_token(receiver.store)
        await enrol_at(receiver.url, folder, ca_file=str(authority.ca_file))


async def test_a_revoked_certificate_is_out_at_once_and_comes_back_when_it_is_added_again(
    tmp_path: Path, folder: Path
) -> None:
    """Over the connection that was open already."""
    authority = Authority(tmp_path)
    server, ours = authority.issue("server"), authority.issue("ours")
    tls = {"certificate": str(server.certificate), "key": str(server.key), "client_ca": str(authority.ca_file)}
    line = {"certificate": str(ours.certificate), "key_file": str(ours.key), "ca_file": str(authority.ca_file)}
    outbox = MemoryOutbox(SITE)
    async with platform_at(tmp_path, **tls) as receiver:
        async with enrolled_shipping(outbox, receiver.url, folder, auth="certificate", **line) as shipper:
            for revoked_ms, problem in ((0, ""), (1, "revoked"), (0, "")):
                certified = Certified(site=SITE, revoked_ms=revoked_ms)
                await receiver.store.put(CERTIFICATE, ours.sha256, msgspec.json.encode(certified))
                outbox.record()
                assert (await shipper.upload()).problem == problem
        assert outbox.acked == 3


async def test_a_running_agent_takes_up_another_key_and_another_enrolment_of_its_site(
    receiver: RunningReceiver, folder: Path
) -> None:
    await give_token(receiver.store, uses_left=2)
    keys = [(await enrol_at(receiver.url, folder)).answer.key]
    outbox = MemoryOutbox(SITE)
    async with enrolled_shipping(outbox, receiver.url, folder) as shipper:
        outbox.record()
        assert (await shipper.upload()).problem == ""
        keys.append((await rotate_at(receiver.url, folder)).answer.key)
        outbox.record()
        assert (await shipper.upload()).problem == ""
        assert await states(receiver) == {keys[0]: "retired", keys[1]: "active"}
        await Agents(receiver.store).change(keys[1], "revoked", 1)
        outbox.record()
        assert (await shipper.upload()).problem == "revoked"
        await give_token(receiver.store, "another")
        keys.append((await enrol_at(receiver.url, folder, "another")).answer.key)
        assert (await shipper.upload()).problem == ""
    assert (outbox.acked, outbox.epochs_begun) == (3, [])
    assert list((await states(receiver)).values()).count("active") == 1


async def test_a_running_agent_changes_its_key_when_the_platform_wishes_it(
    receiver: RunningReceiver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, however many answers tell of the wish; where something was in the way, again after a while."""
    await give_token(receiver.store)
    first = (await enrol_at(receiver.url, folder)).answer.key
    outbox = MemoryOutbox(SITE)
    async with line_to(receiver) as line, enrolled_shipping(outbox, line.url, folder) as shipper:
        assert (await shipper.upload()).problem == ""
        await Agents(receiver.store).wish_another(first, 1)
        line.faults = [pass_on, answers("503 Service Unavailable")]
        monkeypatch.setattr(speaker, "CHANGE_EVERY_S", 0.5)
        for pause_s, keys in ((0.0, 1), (0.0, 1), (0.5, 2), (0.0, 2), (0.5, 2)):
            await asyncio.sleep(pause_s)
            outbox.record()
            assert (await shipper.upload()).problem == ""
            assert len(await keys_of(receiver)) == keys
    (before, after) = sorted(await keys_of(receiver), key=lambda key: key.key != first)
    assert (before.state, after.state, after.wished_ms) == ("retired", "active", 0)
    assert (after.machine, after.version) == (before.machine, before.version) == ("pbx-1", "1.0")
    assert (outbox.acked, outbox.epochs_begun) == (5, [])


async def test_a_batch_that_a_new_key_overtook_on_its_way_is_signed_anew_and_sent_again(
    receiver: RunningReceiver, folder: Path
) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    outbox, released = MemoryOutbox(SITE), asyncio.Event()
    outbox.record()

    async def held_up(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        await released.wait()
        await pass_on(writer, request, ask)

    async with line_to(receiver) as line, enrolled_shipping(outbox, line.url, folder) as shipper:
        assert (await shipper.upload()).problem == ""
        outbox.record()
        line.faults = [held_up]
        uploading = asyncio.create_task(shipper.upload())
        while line.faults:
            await asyncio.sleep(0.01)
        await rotate_at(receiver.url, folder)
        other = PegcountHttp(PegcountSettings(url=receiver.url), SITE, folder)
        await other.policy("")
        await other.close()
        assert sorted((await states(receiver)).values()) == ["active", "retired"]
        released.set()
        assert (await uploading).problem == ""
    assert (outbox.acked, len(line.requests)) == (2, 3)


async def test_what_it_cannot_use_changes_nothing_for_a_running_agent(
    receiver: RunningReceiver, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    await give_token(receiver.store, "elsewhere", site="another-site")
    await enrol_at(receiver.url, folder.parent / "other", "elsewhere")
    enrolment = folder / "enrolment.json"
    good = enrolment.read_bytes()
    outbox = MemoryOutbox(SITE)
    async with enrolled_shipping(outbox, receiver.url, folder) as shipper:
        for bad, said in (
            (b"{", "cannot be read"),
            ((folder.parent / "other" / "enrolment.json").read_bytes(), "cannot be read"),
            (None, "not enrolled any more"),
        ):
            if bad is None:
                enrolment.unlink()
            else:
                identity.write_durably(enrolment, bad)
            outbox.record()
            assert (await shipper.upload()).problem == ""
            assert said in caplog.text
            caplog.clear()
        for file in (folder.parent / "other").iterdir():
            shutil.copy(file, folder)
        assert (await shipper.upload()).problem == ""
        assert "enrolled as another-site; until the agent is restarted" in caplog.text
        identity.write_durably(enrolment, good)
        assert (await shipper.upload()).problem == ""
    assert outbox.acked == 3


HTTPS = "https://meter.example.net"


async def test_auth_says_what_speaks_and_nothing_else_takes_its_place(
    receiver: RunningReceiver, folder: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("ours")
    certificate = {"certificate": str(shown.certificate), "key_file": str(shown.key)}
    for settings, said in (
        ({"auth": "key"}, "not enrolled"),
        ({"auth": "key", **certificate}, "not enrolled"),
        ({"auth": "auto"}, "not enrolled"),
    ):
        with pytest.raises(CredentialsUnreadable, match=said):
            PegcountHttp(msgspec.convert({"url": HTTPS, **settings}, PegcountSettings), SITE, folder)
    await give_token(receiver.store)
    await enrol_at(receiver.url, folder)
    for settings, by_key in (
        ({"auth": "key"}, True),
        ({"auth": "auto"}, True),
        ({"auth": "auto", **certificate}, True),
        ({"auth": "auto", "token": "t"}, False),
        ({"auth": "token", "token": "t"}, False),
        ({"auth": "certificate", **certificate}, False),
    ):
        opened = PegcountHttp(msgspec.convert({"url": HTTPS, **settings}, PegcountSettings), SITE, folder)
        assert bool(opened.platform_keys) == by_key, settings
        await opened.close()
    (folder / "enrolment.json").unlink()
    for half in ({}, {"token": "t"}, certificate):
        with pytest.raises(CredentialsUnreadable, match="holds a key and no enrolment"):
            PegcountHttp(msgspec.convert({"url": HTTPS, **half}, PegcountSettings), SITE, folder)
    with pytest.raises(CredentialsUnreadable, match="not enrolled"):
        PegcountHttp(msgspec.convert({"url": HTTPS, "auth": "key"}, PegcountSettings), SITE, folder)
    opened = PegcountHttp(PegcountSettings(url=HTTPS, auth="token", token="t"), SITE, folder)
    await opened.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"auth": "key", "token": "t"}, "a token besides"),
        ({"auth": "certificate", "token_file": "f", "certificate": "c", "key_file": "k"}, "a token besides"),
        ({"auth": "token"}, "neither token nor token_file"),
        ({"auth": "certificate"}, "there is none"),
        ({"auth": "password"}, "Invalid enum value"),
    ],
    ids=str,
)
def test_settings_that_contradict_auth_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"url": HTTPS, **settings}, PegcountSettings)


def test_without_token_key_or_certificate_nothing_is_sent(folder: Path) -> None:
    with pytest.raises(CredentialsUnreadable, match="pegcount enrol"):
        PegcountHttp(PegcountSettings(url="https://meter.example.net"), SITE, folder)
