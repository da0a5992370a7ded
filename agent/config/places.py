"""Where each key and value of a TOML text stands.

Laws
- The text is valid TOML: `tomllib` has read it before. What follows from that is not checked again.
- Every key, value, array element and table of the text has a place; paths are as in the tree that `tomllib` makes.
- The grammar is that of TOML 1.0.0 (https://toml.io/en/v1.0.0), as far as it decides where a thing begins and ends.
"""

import re
import tomllib

from agent.config.findings import Path

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'{3,5}", re.DOTALL)
_STRINGS = (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")


class Places:
    """`keys` and `values` map a path to the offset where it stands in the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.keys: dict[Path, int] = {}
        self.values: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}
        self._read()

    def line_column(self, path: Path, at: str = "value") -> tuple[int, int]:
        """Line and column of `path`, counted from 1, or of the nearest table around it; (0, 0) where there is none."""
        first, second = (self.keys, self.values) if at == "key" else (self.values, self.keys)
        for length in range(len(path), 0, -1):
            offset = first.get(path[:length], second.get(path[:length]))
            if offset is not None:
                return self._text.count("\n", 0, offset) + 1, offset - self._text.rfind("\n", 0, offset)
        return 0, 0

    def _read(self) -> None:
        table: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _header(self) -> Path:
        start = self._at
        many = self._text.startswith("[[", start)
        self._at += 2 if many else 1
        parts = self._key()
        self._at += 2 if many else 1
        table: Path = ()
        for _, part in parts[:-1]:
            table = self._newest((*table, part))
        table = (*table, parts[-1][1])
        if many:
            self.keys.setdefault(table, start)
            self._lengths[table] = self._lengths.get(table, 0) + 1
            table = self._newest(table)
        self.keys[table] = start
        return table

    def _newest(self, table: Path) -> Path:
        """An array of tables stands for its last element, wherever a later header names it."""
        return (*table, self._lengths[table] - 1) if table in self._lengths else table

    def _key(self) -> list[tuple[int, str]]:
        """A dotted key: the offset and text of each part. Stops behind the last part and the space after it."""
        parts = []
        while True:
            start = self._skip(_SPACE)
            for pattern in (_BARE_KEY, _BASIC, _LITERAL):
                if self._skip(pattern) > start:
                    break
            parts.append((start, _plain(self._text[start : self._at])))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _pair(self, table: Path) -> None:
        for start, part in self._key():
            table = (*table, part)
            self.keys.setdefault(table, start)
        self._at += 1
        self._skip(_SPACE)
        self._value(table)

    def _value(self, path: Path) -> None:
        self.values[path] = start = self._at
        if self._text[start] == "[":
            self._array(path)
        elif self._text[start] == "{":
            self._inline_table(path)
        elif not any(self._skip(pattern) > start for pattern in _STRINGS):
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._text[self._skip(_BLANK)] != "]":
            self._value((*path, index))
            index += 1
            self._comma()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._text[self._skip(_BLANK)] != "}":
            self._pair(path)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        self._skip(_BLANK)
        self._at += self._text[self._at] == ","


def _plain(key: str) -> str:
    """A key's text without quotes and escapes; a quoted key is rare, so TOML's own reader undoes it."""
    return next(iter(tomllib.loads(f"{key}=0"))) if key[0] in "\"'" else key
