"""`pegcount platform operator` at a real store: who it lets in and out."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli.main import main
from uplink.receiver.fleet import operators
from uplink.receiver.fleet.operators import Operator, is_password
from uplink.receiver.storage.sqlite import SqliteStore

PASSWORD = "correct horse battery"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return tmp_path / "receiver.db"


def do(store: Path, *words: str, typed: str = "") -> Result:
    action, *rest = words
    return CliRunner().invoke(main, ["platform", "operator", action, "--store", str(store), *rest], input=typed)


def kept(store: Path, name: str) -> Operator | None:
    async def find() -> Operator | None:
        opened = await SqliteStore.open(str(store))
        try:
            found = await operators.find(opened, name)
            return found[0] if found else None
        finally:
            await opened.close()

    return asyncio.run(find())


def test_an_operator_is_added_listed_and_removed(store: Path) -> None:
    file = str(store.parent / "password")
    added = do(store, "add", "--role", "admin", "--password-file", file, "ada")
    made = f"pegcount platform: there was no store {store}: made a new one\n"
    assert (added.exit_code, added.stdout, added.stderr) == (0, "", made)
    ada = kept(store, "ada")
    assert ada is not None
    assert ada.role == "admin"
    assert is_password(ada.password, PASSWORD)
    assert do(store, "list").output.startswith("ada\tadmin\t20")
    again = do(store, "add", "--password-file", file, "ada")
    assert (again.exit_code, again.stderr) == (1, "pegcount platform: there is an operator ada\n")
    assert do(store, "remove", "ada").exit_code == 0
    assert do(store, "remove", "ada").exit_code == 1
    assert (kept(store, "ada"), do(store, "list").output) == (None, "")


def test_a_password_is_asked_for_twice_and_never_shown(store: Path) -> None:
    added = do(store, "add", "bob", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert added.exit_code == 0, added.output
    assert PASSWORD not in added.output
    changed = do(store, "password", "bob", typed="another long one\nanother long one\n")
    assert changed.exit_code == 0
    bob = kept(store, "bob")
    assert bob is not None
    assert (bob.role, is_password(bob.password, "another long one")) == ("viewer", True)
    assert do(store, "password", "nobody", typed="another long one\nanother long one\n").exit_code == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("add", "Ada B"), 2, "small letters"),
        (("add", "--password-file", "absent", "ada"), 78, "No such file"),
        (("add", "--password-file", "short", "ada"), 78, "12 to 256 characters"),
    ],
)
def test_what_is_wrong_is_told(
    store: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, told: str
) -> None:
    monkeypatch.chdir(store.parent)
    Path("short").write_text("short")
    done = do(store, *words)
    assert done.exit_code == code
    assert told in done.stderr
