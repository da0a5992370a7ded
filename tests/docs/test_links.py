"""The documentation points at things that are there, and names commands and options that exist."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from agent.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


PAGES = _tracked()
ids = [str(page.relative_to(ROOT)) for page in PAGES]


def anchor(heading: str) -> str:
    """GitHub's: lower case, only letters, digits, `-` and `_`, blanks as `-`."""
    plain = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(text: str) -> set[str]:
    outside_fences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", outside_fences, re.MULTILINE)}


def broken_link(page: Path, target: str) -> str:
    """Why a link leads nowhere; empty where it leads somewhere, or out of the project."""
    if re.match(r"[a-z]+:", target):
        return ""
    name, _, fragment = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.exists():
        return f"{target}: there is no such file"
    if not file.is_relative_to(ROOT):
        return f"{target}: leads out of the project"
    if fragment and fragment not in anchors(file.read_text("utf-8")):
        return f"{target}: there is no such heading"
    return ""


def commands(text: str) -> list[list[str]]:
    """What the page says one may type that begins with `pegcount`, as words."""
    fenced = [line for block in FENCE.findall(text) for line in block.splitlines()]
    quoted = CODE.findall(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line.split(" #")[0] for line in fenced] + quoted
    return [words for line in lines if (words := _words(line)) and words[0] == "pegcount" and len(words) > 1]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line.strip().removeprefix("sudo "))
    except ValueError:
        return []


def fault(words: list[str]) -> str:
    """What is wrong with a command line; empty where nothing is."""
    if words[1].startswith("-"):
        return "" if words[1] in ("--version", "--help", "-h") else f"pegcount has no option {words[1]}"
    command = main.commands.get(words[1])
    if command is None:
        return f"there is no command {words[1]}"
    rest = words[2:]
    while isinstance(command, click.Group):
        if not rest or rest[0] not in command.commands:
            return "" if not rest else f"{command.name} has no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    context = click.Context(command, info_name=words[1])
    known = {option for param in command.get_params(context) for option in param.opts}
    wrong = [word for word in rest if word.startswith("-") and word.split("=")[0] not in known]
    return f"pegcount {words[1]} has no option {wrong[0]}" if wrong else ""


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    links = LINK.findall(re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL))
    assert [why for link in links if (why := broken_link(page, link))] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_that_a_page_tells_to_type_exists(page: Path) -> None:
    told = commands(page.read_text("utf-8"))
    assert [f"{' '.join(words)}: {why}" for words in told if (why := fault(words))] == []


def test_the_readme_tells_of_every_command() -> None:
    told = {words[1] for words in commands((ROOT / "README.md").read_text("utf-8"))}
    assert set(main.commands) <= told


def test_these_tests_find_what_is_wrong() -> None:
    page = ROOT / "README.md"
    assert broken_link(page, "docs/nowhere.md")
    assert broken_link(page, "LICENSE#nothing")
    assert not broken_link(page, "docs/install.md#rights-to-read")
    assert commands("Type `pegcount read A.csv` or\n```sh\nsudo pegcount status --json  # all\nls\n```\n") == [
        ["pegcount", "status", "--json"],
        ["pegcount", "read", "A.csv"],
    ]
    assert fault(["pegcount", "fly"]) == "there is no command fly"
    assert fault(["pegcount", "status", "--xml"]) == "pegcount status has no option --xml"
