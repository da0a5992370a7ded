"""What no file of the project may hold: paths of one machine, hosts of registries, empty except clauses that catch all."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CATCH_ALL_ALLOWED = {
    "agent/ledger/intake.py": "one vendor's join must not stop the site",
    "agent/ledger/writer.py": "the supervisor of the writer's thread",
    "agent/service/supervisor.py": "the supervisor of the collectors",
}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).is_file()]


def test_no_file_names_a_registry_host_or_a_path_of_one_machine() -> None:
    wrong = re.compile(
        r"files\.pythonhosted|pypi\.org/simple|deb\.debian\.org|registry\.npmjs|" + "/wo" + r"rk/|/root/\."
    )
    found = []
    for path in tracked():
        if path.suffix in (".png", ".pcap"):
            continue
        for number, line in enumerate(path.read_text("utf-8", "replace").split("\n"), start=1):
            if wrong.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_only_supervisors_catch_everything() -> None:
    found = set()
    for path in tracked("agent/*.py", "collectors/*.py", "uplink/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            caught = node.type.id if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) else ""
            if caught in ("Exception", "BaseException") and not _raises_again(node):  # type: ignore[arg-type]
                found.add(str(path.relative_to(ROOT)))
    assert found <= set(CATCH_ALL_ALLOWED)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def test_every_module_begins_by_saying_what_it_is() -> None:
    bare = []
    for path in tracked("agent/*.py", "collectors/*.py", "uplink/*.py", "benchmarks/*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        if tree.body and not ast.get_docstring(tree):
            bare.append(str(path.relative_to(ROOT)))
    assert bare == []
