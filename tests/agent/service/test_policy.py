"""The platform's policy at a running agent: asked for, applied, refused, kept, withdrawn, and told back."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import UnsetType, structs

from agent.config import Config, load
from agent.service import daemon, policy
from agent.service.policy import PolicyKeeper, lay_down
from tests.uplink.enrolled import SITE, enrol_at, give_token, platform_at
from uplink.destinations.pegcount_http import PegcountHttp
from uplink.enrolment import GivenPolicy
from uplink.receiver.policies import KIND
from uplink.receiver.seen import KIND as SEEN
from uplink.receiver.seen import Seen, read
from uplink.receiver.serve import RunningReceiver
from uplink.session import Answer
from uplink.status import AgentStatus

GOOD = b"[metering]\nincrement_s = 6\n"
BETTER = b"[metering]\nincrement_s = 1\n"
FORBIDDEN = b"[privacy]\nnumbers = 'full'\n"


def tag_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


@pytest.fixture
async def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningReceiver]:
    """An enrolled site's platform, which may be asked again at once."""
    monkeypatch.setattr(policy, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr("uplink.receiver.seen.WRITE_EVERY_S", 0.1)
    async with platform_at(tmp_path) as running:
        await give_token(running.store)
        await enrol_at(running.url, tmp_path / "state" / "identity")
        yield running


def configured(tmp_path: Path, url: str) -> Config:
    path = tmp_path / "pegcount.toml"
    path.write_text(
        f'[site]\nid = "{SITE}"\nprovider = "acme"\n[ledger]\npath = "{tmp_path}/state/ledger.db"\n'
        f'[uplink]\nurl = "{url}"\ninterval_s = 1\njitter_s = 0\n[web]\nenabled = false\n'
    )
    return load(path)


@pytest.fixture
def config(tmp_path: Path, receiver: RunningReceiver) -> Config:
    return configured(tmp_path, receiver.url)


@pytest.fixture
async def platform(config: Config, tmp_path: Path) -> AsyncIterator[PegcountHttp]:
    assert config.uplink is not None
    opened = PegcountHttp(config.uplink, SITE, tmp_path / "state" / "identity")
    yield opened
    await opened.close()


async def test_a_policy_is_sent_once_and_known_again_by_its_hash(
    receiver: RunningReceiver, platform: PegcountHttp
) -> None:
    answers = [await platform.policy("")]
    await receiver.store.put(KIND, "*", GOOD)
    answers.append(await platform.policy(""))
    answers.append(await platform.policy(hashlib.sha256(GOOD).hexdigest()))
    await receiver.store.put(KIND, SITE, BETTER)
    answers.append(await platform.policy(hashlib.sha256(GOOD).hexdigest()))
    assert [(each.status, each.body) for each in answers[1:] if isinstance(each, Answer)] == [
        (200, GOOD),
        (304, b""),
        (200, BETTER),
    ]
    assert isinstance(answers[0], Answer)
    assert answers[0].status == 404


async def test_a_good_one_is_applied_and_survives_a_restart_and_a_bad_one_changes_nothing(
    receiver: RunningReceiver, config: Config, platform: PegcountHttp
) -> None:
    keeper = PolicyKeeper(config)
    assert not await keeper.ask(platform)
    assert keeper.config is config
    await receiver.store.put(KIND, "*", GOOD)
    assert await keeper.ask(platform)
    assert not await keeper.ask(platform)
    assert (keeper.config.metering.increment_s, keeper.outcome) == (6, "applied")
    in_force = keeper.in_force
    assert in_force == hashlib.sha256(GOOD).hexdigest()[:16]
    for bad, said in (
        (FORBIDDEN, "does not let"),
        (b"\xff", "TOML"),
        (b"a=" + b"[" * 9_999, "brackets"),
        (b"[site]\nid = 'x'\n", "unknown key"),
    ):
        await receiver.store.put(KIND, "*", bad)
        assert not await keeper.ask(platform)
        assert (keeper.config.metering.increment_s, keeper.in_force) == (6, in_force)
        assert keeper.outcome.startswith("refused " + hashlib.sha256(bad).hexdigest()[:16])
        assert said in keeper.outcome
    again = PolicyKeeper(config)
    assert (again.config.metering.increment_s, again.outcome, again.in_force) == (6, "applied", in_force)
    await receiver.store.delete(KIND, "*")
    assert await again.ask(platform)
    assert (again.config, again.outcome, again.in_force) == (config, "", "")
    assert PolicyKeeper(config).config == config


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=200, body=b"<html>Welcome</html>", content_type="text/html"),
        Answer(status=200, content_type="application/toml"),
        Answer(status=200, body=BETTER[:-8], content_type="application/toml", headers={"etag": f'"{tag_of(BETTER)}"'}),
        Answer(status=200, body=BETTER, content_type="text/plain", headers={"etag": f'"{tag_of(BETTER)}"'}),
        Answer(status=404, body=b"Not Found", content_type="text/plain"),
    ],
    ids=["page", "empty", "cut", "text", "not found"],
)
async def test_what_something_on_the_way_says_is_no_policy(
    receiver: RunningReceiver, config: Config, platform: PegcountHttp, answer: Answer
) -> None:
    class OnTheWay:
        async def policy(self, _seen: str) -> Answer:
            return answer

    await receiver.store.put(KIND, "*", GOOD)
    keeper = PolicyKeeper(config)
    assert await keeper.ask(platform)
    assert not await keeper.ask(OnTheWay())
    assert (keeper.config.metering.increment_s, keeper.outcome) == (6, "applied")


async def test_what_was_kept_is_held_against_the_local_file_as_it_is_now(
    receiver: RunningReceiver, config: Config, platform: PegcountHttp
) -> None:
    await receiver.store.put(KIND, "*", GOOD)
    assert await PolicyKeeper(config).ask(platform)
    config.path.write_text(config.path.read_text() + "[policy]\nallow = []\n")
    keeper = PolicyKeeper(load(config.path))
    assert keeper.config.metering.increment_s == 60
    assert keeper.outcome.startswith("refused")


async def test_what_was_kept_and_cannot_be_read_is_asked_for_again(
    receiver: RunningReceiver, config: Config, platform: PegcountHttp, tmp_path: Path
) -> None:
    kept = tmp_path / "state" / "identity" / "policy.toml"
    kept.mkdir()
    keeper = PolicyKeeper(config)
    assert keeper.config is config
    kept.rmdir()
    await receiver.store.put(KIND, "*", GOOD)
    assert await keeper.ask(platform)


async def test_an_unreachable_or_strange_platform_changes_nothing(
    tmp_path: Path, receiver: RunningReceiver, config: Config, platform: PegcountHttp
) -> None:
    keeper = PolicyKeeper(config)
    await receiver.store.put(KIND, "*", GOOD)
    assert await keeper.ask(platform)
    for url in ("http://127.0.0.1:1", receiver.url + "/elsewhere"):
        uplink = configured(tmp_path, url).uplink
        assert uplink is not None
        other = PegcountHttp(uplink, SITE, tmp_path / "state" / "identity")
        assert not await keeper.ask(other)
        assert keeper.config.metering.increment_s == 6
        await other.close()


async def enrol_again(receiver: RunningReceiver, tmp_path: Path, name: str) -> GivenPolicy | UnsetType | None:
    """What a machine is given that enrols now."""
    await give_token(receiver.store, name)
    return (await enrol_at(receiver.url, tmp_path / "state" / "identity", name)).answer.policy


async def test_it_comes_with_the_enrolment_and_the_first_start_is_under_it(
    receiver: RunningReceiver, config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "state" / "identity"
    await receiver.store.put(KIND, SITE, GOOD)
    given = await enrol_again(receiver, tmp_path, "second")
    assert given == GivenPolicy(etag=hashlib.sha256(GOOD).hexdigest(), text=GOOD.decode())
    assert lay_down(folder, config, given) == ""
    first = PolicyKeeper(config)
    assert (first.config.metering.increment_s, first.outcome) == (6, "applied")
    running = asyncio.create_task(daemon.run(config))
    await told(receiver, "applied", GOOD)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0
    await receiver.store.delete(KIND, SITE)
    given = await enrol_again(receiver, tmp_path, "third")
    assert given is None
    assert lay_down(folder, config, given) == ""
    assert PolicyKeeper(config).config == config


async def test_a_bad_one_spoils_no_enrolment_and_what_was_kept_stays(
    receiver: RunningReceiver, config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "state" / "identity"
    await receiver.store.put(KIND, SITE, FORBIDDEN)
    given = await enrol_again(receiver, tmp_path, "second")
    assert isinstance(given, GivenPolicy)
    assert lay_down(folder, config, GivenPolicy(etag=hashlib.sha256(GOOD).hexdigest(), text=GOOD.decode())) == ""
    assert "does not let" in lay_down(folder, config, given)
    assert "ETag" in lay_down(folder, config, structs.replace(given, text=BETTER.decode()))
    assert "unknown key" in lay_down(folder, None, GivenPolicy(etag=hashlib.sha256(b"[x]").hexdigest(), text="[x]"))
    assert PolicyKeeper(config).config.metering.increment_s == 6
    await receiver.store.put(KIND, SITE, b"\xff")
    assert await enrol_again(receiver, tmp_path, "third") is None
    running = asyncio.create_task(daemon.run(config))
    await told(receiver, "refused", GOOD)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0


async def told(receiver: RunningReceiver, outcome: str, policy: bytes) -> AgentStatus:
    """What the agent says of itself, once it says this."""
    wanted = (hashlib.sha256(policy).hexdigest()[:16] if policy else "", outcome)
    seen: Seen | None = None
    for _ in range(150):
        document = await receiver.store.get(SEEN, SITE)
        seen = read(document.body) if document else None
        if seen and seen.status and (seen.status.policy, seen.status.policy_outcome[: len(outcome)]) == wanted:
            return seen.status
        await asyncio.sleep(0.1)
    raise AssertionError(f"not told within 15 s: {seen}")


async def test_a_running_agent_goes_on_under_each_policy_and_tells_it(
    receiver: RunningReceiver, config: Config
) -> None:
    running = asyncio.create_task(daemon.run(config))
    for text, outcome in ((GOOD, "applied"), (BETTER, "applied"), (FORBIDDEN, "refused")):
        await receiver.store.put(KIND, SITE, text)
        status = await told(receiver, outcome, BETTER if text == FORBIDDEN else text)
    assert not running.done()
    assert "does not let the platform set" in status.policy_outcome
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0
    (epoch,) = await receiver.store.epochs(SITE)
    assert epoch.continues == "first"
