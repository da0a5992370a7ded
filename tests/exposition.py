"""Prometheus' text format, read strictly: what is not exactly of the form is an error.

By https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format: a family's HELP and TYPE stand before its
samples, each family and each sample once, the last line ends.
"""

import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABELS = re.compile(r'\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\}')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(text: str) -> dict[Sample, float]:
    """(name, labels) -> value. Raises ValueError."""
    if text and not text.endswith("\n"):
        raise ValueError("the last line does not end")
    found: dict[Sample, float] = {}
    helped: set[str] = set()
    typed: dict[str, str] = {}
    family = ""
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            seen = {"HELP": helped, "TYPE": typed}[word]
            if not NAME.fullmatch(name) or name in seen or (word == "TYPE" and name not in helped):
                raise ValueError(line)
            helped.add(name)
            if word == "TYPE":
                typed[name], family = rest, name
            continue
        sample, value = _sample(line)
        if sample[0] != family or typed.get(family) not in ("counter", "gauge") or sample in found:
            raise ValueError(line)
        if typed[family] == "counter" and not (family.endswith("_total") and value >= 0):
            raise ValueError(line)
        found[sample] = value
    if helped != set(typed):
        raise ValueError(f"without a type: {helped - set(typed)}")
    return found


def _sample(line: str) -> tuple[Sample, float]:
    name = NAME.match(line)
    if name is None:
        raise ValueError(line)
    rest, labels = line[name.end() :], ()
    if braces := _LABELS.match(rest):
        labels = tuple(sorted(_LABEL.findall(braces[1])))
        rest = rest[braces.end() :]
    if not rest.startswith(" ") or rest.count(" ") != 1:
        raise ValueError(line)
    return (name[0], labels), float(rest)
