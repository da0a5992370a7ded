"""The one-way flow, as rules over the imports that the source text has. Each rule is one line of RULES."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "collectors", "uplink")
SHARED_DECODERS = {"hep": {"sip"}, "syslog": {"sip"}}
"""Collectors that may use another one's decoder, by name."""

PURE = (
    "collectors/*/decode.py",
    "collectors/*/join.py",
    "agent/metering/*.py",
    "agent/insight/*.py",
    "agent/rating/*.py",
    "uplink/batch.py",
    "uplink/session.py",
    "uplink/proof.py",
    "agent/web/page.py",
    "agent/web/charts.py",
    "uplink/pages/charts.py",
    "uplink/pages/words.py",
    "uplink/pages/templates.py",
    "uplink/receiver/fleet/verdict.py",
    "uplink/receiver/fleet/roster.py",
    "uplink/receiver/fleet/attempts.py",
    "uplink/receiver/fleet/chart.py",
    "uplink/receiver/fleet/words.py",
    "uplink/receiver/fleet/page.py",
)
ADDRESSES_AS_TEXT = {"socket.AF_INET", "socket.AF_INET6", "socket.inet_ntop", "socket.inet_pton"}
"""Pure functions that the standard library keeps in an impure module."""
IMPURE_MODULES = {
    "asyncio",
    "logging",
    "os",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
    "aiohttp",
    "pathlib",
}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all that a module imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where things come from"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(path: Path, name: str) -> str:
    """Why `path` must not import `name`, or nothing."""
    place = path.relative_to(ROOT).parts
    top = name.partition(".")[0]
    if place[0] in ("collectors", "uplink") and top in PACKAGES and top != place[0]:
        return f"{place[0]} imports nothing of {top}"
    if place[0] == "collectors" and len(place) == 3 and name.startswith("collectors."):
        other = name.split(".")[1]
        free = {place[1], "io", "net", "records", "contract"} | SHARED_DECODERS.get(place[1], set())
        if other not in free:
            return f"collector {place[1]} imports nothing of {other}"
    pure = ("metering", "insight")
    if place[0] == "agent" and place[1] in pure and top == "agent" and name.split(".")[1] not in pure:
        return f"agent.{place[1]} is pure and knows nothing of {name}"
    return ""


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    wrong = {f"{name}: {reason}" for name in imports(path) if (reason := forbidden(path, name))}
    assert not wrong


@pytest.mark.parametrize("pattern", PURE)
def test_pure_modules_touch_no_clock_no_file_no_log(pattern: str) -> None:
    for path in ROOT.glob(pattern):
        names = set(imports(path))
        if names & ADDRESSES_AS_TEXT:
            names -= ADDRESSES_AS_TEXT | {"socket"}
        used = {name.partition(".")[0] for name in names} & IMPURE_MODULES
        assert not used, f"{path.relative_to(ROOT)} imports {used}"


def test_only_the_ledger_uses_sqlite_at_the_site() -> None:
    users = {
        str(path.relative_to(ROOT).parent)
        for path in modules()
        if {"sqlite3", "sqlite_utils"} & {name.partition(".")[0] for name in imports(path)}
        if path.relative_to(ROOT).parts[0] == "agent"
    }
    assert users <= {"agent/ledger", "agent/service", "agent/web", "agent/cli", "agent/demo"}
    writers = [path for path in modules() if "sqlite3.connect" in path.read_text("utf-8")]
    assert {str(path.relative_to(ROOT)) for path in writers} <= {
        "agent/ledger/store.py",
        "uplink/receiver/storage/sqlite.py",
    }


def test_the_rules_do_catch_something(tmp_path: Path) -> None:
    assert forbidden(ROOT / "collectors/sip/decode.py", "agent.ledger")
    assert forbidden(ROOT / "collectors/sip/decode.py", "collectors.asterisk_cdr.join")
    assert forbidden(ROOT / "uplink/batch.py", "collectors.records")
    assert forbidden(ROOT / "agent/metering/meter.py", "agent.ledger.writer")
    assert not forbidden(ROOT / "collectors/hep/collect.py", "collectors.sip.tracker")
