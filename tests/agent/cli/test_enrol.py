"""`pegcount enrol` and `pegcount platform`: from a token to an agent that reports, and out again."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.main import main
from tests.agent.cli.commands import CHECKOUT
from tests.uplink.authority import Authority
from tests.uplink.enrolled import TOKEN, give_token, platform_at
from tests.uplink.platform import TOKENS, Fault, answers, line_to
from uplink.receiver.policies import KIND as POLICY
from uplink.receiver.serve import ReceiverSettings, serve

SITE = "3f0a2f3e-0000-4000-8000-00000000beef"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "agent.cli", *words]


async def run(*words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of `pegcount` with these words."""
    process = await asyncio.create_subprocess_exec(
        *command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=CHECKOUT
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def token_for(folder: Path, *options: str) -> Path:
    status, out, err = await run(
        "platform", "token", "add", "--store", str(folder / "receiver.db"), "--provider", "acme", *options
    )
    assert (status, err) == (0, "")
    path = folder / "token"
    path.write_text(out)
    return path


async def test_from_a_token_to_the_tables_of_the_configuration_and_out_again(tmp_path: Path) -> None:
    store = str(tmp_path / "receiver.db")
    async with platform_at(tmp_path) as receiver:
        token = await token_for(tmp_path, "--site", SITE, "--label", "roll-out")
        asked = ("enrol", receiver.url, "--token-file", str(token), "--state", str(tmp_path / "state"))
        status, out, err = await run(*asked)
        assert (status, out) == (
            0,
            f'[site]\nid = "{SITE}"\nprovider = "acme"\n\n[uplink]\nurl = "{receiver.url}"\nauth = "key"\n',
        )
        assert "restart the agent" in err
        assert (await run(*asked))[1] == out
        assert (await run("enrol", "--rotate", "--state", str(tmp_path / "state")))[:2] == (0, out)
        listed = (await run("platform", "agent", "list", "--store", store, "--site", SITE))[1].splitlines()
        assert sorted(line.split("\t")[1] for line in listed) == ["active", "new"]
        (token_line,) = (await run("platform", "token", "list", "--store", store))[1].splitlines()
        assert "0 of 1 uses left" in token_line
        assert token_line.endswith("roll-out")
        key = json.loads((tmp_path / "state/identity/enrolment.json").read_text())["answer"]["key"]
        assert (await run("platform", "agent", "revoke", "--store", store, key))[0] == 0
        status, _, err = await run("enrol", "--rotate", "--state", str(tmp_path / "state"))
        assert status == 77
        assert "revoked" in err
        assert (await run("platform", "token", "revoke", "--store", store, token_line.split("\t")[0]))[0] == 0
        assert (await run("platform", "token", "list", "--store", store))[1] == ""


def test_a_key_whose_id_looks_like_an_option_is_named_as_any(tmp_path: Path) -> None:
    for key in ("-mVT0Ly5A-1aKSR_GZM8Qx", "--T0Ly5A-1aKSR_GZM8QxE"):
        for word in ("revoke", "rotate"):
            words = ["platform", "agent", word, "--store", str(tmp_path / "receiver.db"), key]
            result = CliRunner().invoke(main, words)
            last = result.stderr.splitlines()[-1]
            assert (result.exit_code, last) == (1, f"pegcount platform: there is no key {key}")


async def test_what_is_not_given_is_taken_from_the_configurations_uplink(tmp_path: Path) -> None:
    config, state = tmp_path / "pegcount.toml", tmp_path / "state"
    issued = Authority(tmp_path).issue("server")
    tls = {"certificate": str(issued.certificate), "key": str(issued.key)}
    running = await serve(ReceiverSettings(database=str(tmp_path / "receiver.db"), tokens=TOKENS, port=0, **tls))
    local = f'[site]\nid = "{SITE}"\nprovider = "acme"\n[ledger]\npath = "{state}/ledger.db"\n'
    try:
        token = await token_for(tmp_path)
        config.write_text(local + f'[uplink]\nurl = "{running.url}"\npin = "{issued.sha256}"\n')
        status, out, err = await run("enrol", "--token-file", str(token), "--config", str(config))
        assert (status, f'pin = "{issued.sha256}"' in out) == (0, True), err
        assert "names another site" in err
        status, _, err = await run("enrol", "--rotate", "--config", str(config))
        assert (status, "goes on with it" in err) == (0, True)
        ca_file = os.path.relpath(tmp_path / "test-authority.pem", CHECKOUT)
        status, out, _ = await run("enrol", "--rotate", "--config", str(config), "--ca-file", ca_file)
        assert (status, f'ca_file = "{CHECKOUT / ca_file}"' in out, "pin" in out) == (0, True, False)
        config.write_text(local)
        status, _, err = await run("enrol", "--rotate", "--config", str(config))
        assert (status, "pegcount enrol: tls: The platform's certificate is not accepted. (127" in err) == (69, True)
    finally:
        await running.close()


def test_an_operator_changes_the_platforms_key_and_takes_a_certificate_back(tmp_path: Path) -> None:
    def platform(*words: str) -> list[list[str]]:
        result = CliRunner().invoke(
            main, ["platform", *words[:2], "--store", str(tmp_path / "receiver.db"), *words[2:]]
        )
        assert result.exit_code == 0, result.output
        return [line.split("\t") for line in result.stdout.splitlines()]

    ((first, _, _),) = platform("key", "list")
    ((made,),) = platform("key", "rotate")
    assert [(key, state.split()[0]) for key, _, state in platform("key", "list")] == [(made, "in"), (first, "until")]
    shown = Authority(tmp_path).issue("pbx-1")
    added = ("certificate", "add", "--site", SITE, "--label", "x", str(shown.certificate))
    for words, state in ((added, "active"), (("certificate", "revoke", shown.sha256), "revoked"), (added, "active")):
        platform(*words)
        (line,) = platform("certificate", "list")
        assert (line[0], line[1].split()[0], line[2:]) == (shown.sha256, state, [SITE, "x"])
    with pytest.raises(AssertionError, match="there is no certificate"):
        platform("certificate", "revoke", "0" * 64)


async def test_a_provider_that_no_site_could_name_gets_no_token(tmp_path: Path) -> None:
    store = str(tmp_path / "receiver.db")
    status, out, err = await run("platform", "token", "add", "--store", store, "--provider", "Acme Ltd")
    assert (status, out, "1 to 63 of a-z" in err) == (2, "", True)


async def test_a_site_that_no_agent_could_be_configured_with_gets_no_token(tmp_path: Path) -> None:
    words = ("--store", str(tmp_path / "receiver.db"), "--provider", "acme", "--site", "head-office")
    status, out, err = await run("platform", "token", "add", *words)
    assert (status, out, "a UUID in lower case" in err) == (2, "", True)


async def test_root_leaves_the_key_to_the_owner_of_the_ledgers_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(state, owner, -1)
    async with platform_at(tmp_path) as receiver:
        token = await token_for(tmp_path)
        assert (await run("enrol", receiver.url, "--token-file", str(token), "--state", str(state)))[0] == 0
    files = [state / "identity", *(state / "identity").iterdir()]
    assert len(files) == 3
    assert {path.stat().st_uid for path in files} == {owner}
    assert (tmp_path / "receiver.db").stat().st_mode & 0o777 == 0o600


async def test_the_first_start_is_under_the_policy_that_came_with_the_enrolment(tmp_path: Path) -> None:
    """Where [uplink] is still to be written, the policy may set the schedule that it will have."""
    config, whole, state = tmp_path / "pegcount.toml", tmp_path / "whole.toml", tmp_path / "state"
    config.write_text(f'[site]\nid = "{SITE}"\nprovider = "acme"\n[ledger]\npath = "{state}/ledger.db"\n')
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with platform_at(tmp_path) as receiver:
        whole.write_text(config.read_text() + f'[uplink]\nurl = "{receiver.url}"\n')
        await give_token(receiver.store)
        for text, place, said in (
            ("[metering]\nincrement_s = 6\n", ("--state", str(state)), "holds from the next start on"),
            ("[schedule]\nstream = true\n", ("--config", str(config)), "holds from the next start on"),
            ("[privacy]\nnumbers = 'full'\n", ("--config", str(whole)), "refused: policy:1:1: the site does not let"),
        ):
            await receiver.store.put(POLICY, SITE, text.encode())
            status, _, err = await run("enrol", receiver.url, "--token-file", str(token), *place)
            assert (status, said in err) == (0, True), err
    assert (state / "identity" / "policy.toml").read_text() == "[schedule]\nstream = true\n"


async def test_an_operator_sets_shows_and_removes_a_policy(tmp_path: Path) -> None:
    store, file = str(tmp_path / "receiver.db"), tmp_path / "policy.toml"
    file.write_text("[schedule]\ninterval_s = 300\n")
    status, out, _ = await run("platform", "policy", "set", "--store", store, str(file))
    assert (status, out) == (0, hashlib.sha256(file.read_bytes()).hexdigest()[:16] + "\n")
    assert (await run("platform", "policy", "show", "--store", store))[1] == file.read_text()
    assert (await run("platform", "policy", "remove", "--store", store))[0] == 0
    assert (await run("platform", "policy", "show", "--store", store))[0] == 1
    file.write_text('[uplink]\nurl = "https://thief.example.net"\n')
    status, _, err = await run("platform", "policy", "set", "--store", store, str(file))
    assert (status, "unknown key `uplink`" in err) == (78, True)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (answers("200 OK", b"<html>Welcome</html>", "Content-Type: text/html"), "captive_portal"),
        (answers("302 Found", b"", "Location: https://portal.example.net"), "redirected"),
        (answers("404 Not Found"), "not_found"),
        (answers("502 Bad Gateway"), "server_error"),
        (answers("503 Busy"), "unavailable"),
    ],
    ids=["portal", "redirect", "not found", "bad gateway", "busy"],
)
async def test_what_is_no_platforms_answer_enrols_nobody(tmp_path: Path, answer: Fault, problem: str) -> None:
    async with platform_at(tmp_path) as receiver, line_to(receiver) as line:
        token = await token_for(tmp_path)
        line.faults = [answer]
        asked = ("enrol", line.url, "--token-file", str(token), "--state", str(tmp_path / "state"))
        status, _, err = await run(*asked)
        assert (status, err.startswith(f"pegcount enrol: {problem}: ")) == (69, True), err
        assert (await run(*asked))[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--rotate", "--token-file", "x"], 2, "either"),
        (["http://127.0.0.1:1"], 2, "either"),
        (["--rotate", "--state", "nowhere"], 78, "not enrolled"),
        (["http://127.0.0.1:1", "--token-file", "missing", "--state", "nowhere"], 78, "missing"),
        (["http://meter.example.net", "--token-file", "missing", "--state", "nowhere"], 78, "https"),
        (["http://127.0.0.1:1", "--token-file", "TOKEN", "--state", "STATE"], 69, "refused"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_told(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    (tmp_path / "token").write_text("t\n")
    places = {"TOKEN": str(tmp_path / "token"), "STATE": str(tmp_path / "state")}
    ended, _, err = await run("enrol", *(places.get(word, word) for word in words))
    assert (ended, said in err) == (status, True), err
