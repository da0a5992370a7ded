"""The command as a whole."""

import re

import pytest
from click import Command, Context

from agent.cli.main import main
from tests.agent.cli.commands import process


def test_the_version_goes_to_stdout() -> None:
    done = process("--version")
    assert re.fullmatch(r"pegcount \d+\.\d+\.\d+\n", done.out)
    assert (done.status, done.err) == (0, "")


def test_help_lists_every_command_and_speaks_of_pegcount() -> None:
    done = process("--help")
    assert done.out.startswith("Usage: pegcount ")
    for name in ("run", "demo", "check", "status", "read", "upload", "receiver"):
        assert re.search(rf"^  {name} ", done.out, re.MULTILINE)


def test_an_unknown_command_is_a_usage_error_on_stderr() -> None:
    done = process("raed")
    assert (done.status, done.out) == (2, "")
    assert "raed" in done.err


@pytest.mark.parametrize("command", main.commands.values(), ids=main.commands.keys())
def test_every_command_and_option_has_words_of_its_own(command: Command) -> None:
    assert len(command.help or "") > 20
    for param in command.get_params(Context(command)):
        if param.param_type_name == "option":
            assert param.get_help_record(Context(command))[1], param.name  # type: ignore[index]
