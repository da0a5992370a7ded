"""A machine that is killed (SIGKILL) before any step of enrolment, or of a change of its key, that touches its disk."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.uplink.enrolled import SITE, enrol_at, enrolled_shipping, give_token, keys_at, platform_at, rotate_at
from tests.uplink.site import MemoryOutbox
from uplink import identity
from uplink.receiver.agents import Agents
from uplink.receiver.platform_key import rotate

STEPS = ("fsync", "link", "replace", "unlink", "open", "mkdir")


def run_and_die(action: Callable[[], Any], at: int) -> int:
    """The exit status of a child that does this and is killed before its step number `at`."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = at

    def counted(real: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    asyncio.run(action())
    os._exit(0)


async def killed_before_every_step(action: Callable[[], Any], between: Callable[[], Any]) -> int:
    for step in range(1, 200):
        if await asyncio.to_thread(run_and_die, action, step) == 0:
            return step - 1
        await between()
    raise AssertionError("it never came through")


async def test_killed_before_any_step_enrolment_comes_through_and_makes_one_agent(tmp_path: Path) -> None:
    folders = iter(tmp_path / f"state-{number}" for number in range(200))
    async with platform_at(tmp_path) as receiver:
        folder = next(folders)
        agents: set[str] = set()

        async def again() -> None:
            nonlocal folder
            answer = (await enrol_at(receiver.url, folder, folder.name)).answer
            agents.add(answer.agent)
            assert sorted(path.name for path in folder.iterdir()) == sorted([f"{answer.key}.pem", "enrolment.json"])
            folder = next(folders)
            await give_token(receiver.store, folder.name, site="")

        await give_token(receiver.store, folder.name, site="")
        steps = await killed_before_every_step(lambda: enrol_at(receiver.url, folder, folder.name), again)
        assert steps > 10
        assert {key.agent for key in await keys_at(receiver.store)} >= agents
        assert len(await keys_at(receiver.store)) == steps + 1


async def test_killed_before_any_step_of_a_change_the_running_agent_reports_on(tmp_path: Path) -> None:
    """The agent signs by what its folder holds at each upload; at the end by the new key, and was never started anew."""
    folder, outbox = tmp_path / "state", MemoryOutbox(SITE)
    async with platform_at(tmp_path) as receiver:
        await give_token(receiver.store)
        first = (await enrol_at(receiver.url, folder)).answer.key
        async with enrolled_shipping(outbox, receiver.url, folder) as shipper:

            async def reports_on() -> None:
                outbox.record()
                assert (await shipper.upload()).problem == ""
                assert outbox.acked == len(outbox.bodies)

            await reports_on()
            assert await killed_before_every_step(lambda: rotate_at(receiver.url, folder), reports_on) > 5
            await reports_on()
        states = {key.key: key.state for key in await keys_at(receiver.store)}
        known = identity.load(folder)
        assert known is not None
        assert (states[known.key.id], states[first]) == ("active", "retired")
        assert list(states.values()).count("active") == 1
        assert outbox.epochs_begun == []


async def test_killed_before_any_step_a_new_key_of_the_platform_is_learned_later(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with platform_at(tmp_path) as receiver:
        await give_token(receiver.store)
        await enrol_at(receiver.url, folder)
        told = [(await rotate(receiver.store, number)).public for number in range(3)]

        async def learn() -> None:
            identity.learn(folder, told)

        async def still_enrolled() -> None:
            known = identity.load(folder)
            assert known is not None
            assert len(known.platform_keys) in (1, 4)

        assert await killed_before_every_step(learn, still_enrolled) > 3
        known = identity.load(folder)
        assert known is not None
        assert len(known.platform_keys) == 4


async def test_killed_before_any_step_a_change_of_key_leaves_one_that_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with platform_at(tmp_path) as receiver:
        await give_token(receiver.store)
        await enrol_at(receiver.url, folder)

        async def still_known() -> None:
            known = identity.load(folder)
            assert known is not None
            standing = await Agents(receiver.store).read(known.key.id)
            assert standing is not None
            assert standing.state in ("new", "active")

        assert await killed_before_every_step(lambda: rotate_at(receiver.url, folder), still_known) > 5
        await still_known()
