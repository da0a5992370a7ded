"""What is wrong with a configuration file, and where.

Laws
- A finding tells the place (file, line, column), the key's path, what is wrong and, where there is one, what to do.
- A finding never shows a value that might be a secret; passwords and tokens live in files of their own.
- `ConfigError` carries all errors that were found, and the warnings beside them; warnings alone stop nothing.
"""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Path = tuple[str | int, ...]
"""A value's place in the file's tree: `("source", 0, "path")`."""


class Fault(Struct, frozen=True, kw_only=True):
    """Something wrong at `path`, before its line is known. `at` says whether the key or its value is to blame."""

    path: Path
    message: str
    hint: str = ""
    at: Literal["key", "value"] = "value"
    severity: Literal["error", "warning"] = "error"


class Finding(Struct, frozen=True, kw_only=True):
    """Something wrong, with its place. `line` and `column` count from 1; 0 where the finding is about the whole file."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        kind = "warning: " if self.severity == "warning" else ""
        return f"{place}: {kind}{self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """The configuration cannot be used. `findings` holds every error found, and the warnings, in the file's order."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda f: (f.line, f.column)))
        super().__init__("\n".join(map(str, self.findings)))


def dotted(path: Path) -> str:
    """`("source", 0, "path")` -> `source[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
