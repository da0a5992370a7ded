"""What an agent says of itself with every batch and heartbeat: the `Meter-Agent` field, a dictionary of RFC 9651.

Laws
- It tells, and decides nothing: a batch with a field that cannot be read, or without one, is as good as any.
- Members of later versions are passed over; words are cut to named lengths before they are written.
"""

import msgspec
from msgspec import Struct

from uplink.structured import Bare, FieldError, parse_dictionary, write_dictionary

FIELD = "Meter-Agent"
WORD_MAX_CHARS = 120
PROBLEMS_MAX = 10
"""The gravest come first; a page with more helps nobody."""


class AgentStatus(Struct, frozen=True, kw_only=True, gc=False):
    """`backlog`: events not acknowledged yet; `oldest_s` and `newest_s`: when the oldest and the newest of them were recorded
    (Unix time, 0: none). `interval_s`: how often it reports (0: not told). `clock_offset_s`: how far ahead the site's clock was
    of the platform's, where it was wrong. `boot` changes when the machine starts, `monotonic_s` counts from then: with the
    head's own time they show a clock that was set. `problems`: codes that stand at the site, the gravest first. `policy` is the
    hash of the policy in force, `policy_outcome` a word for what became of the last one."""

    version: str = ""
    backlog: int = 0
    oldest_s: int = 0
    interval_s: int = 0
    boot: str = ""
    monotonic_s: int = 0
    problems: tuple[str, ...] = ()
    policy: str = ""
    policy_outcome: str = ""
    newest_s: int = 0
    clock_offset_s: int = 0


def write(status: AgentStatus) -> str:
    members: dict[str, Bare] = {
        "version": _word(status.version),
        "backlog": status.backlog,
        "oldest": status.oldest_s,
        "interval": status.interval_s,
        "newest": status.newest_s,
        "clock-offset": status.clock_offset_s,
        "boot": _word(status.boot),
        "monotonic": status.monotonic_s,
        "problems": " ".join(_word(code) for code in status.problems[:PROBLEMS_MAX]),
        "policy": _word(status.policy),
        "policy-outcome": _word(status.policy_outcome),
    }
    return write_dictionary({name: value for name, value in members.items() if value not in ("", 0)})


def _word(text: str) -> str:
    """What a structured string may hold: printable ASCII."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:WORD_MAX_CHARS])


def parse(text: str) -> AgentStatus | None:
    """None where it cannot be read."""
    try:
        members = parse_dictionary(text)
    except FieldError:
        return None
    told = {_NAMES.get(name, name): value for name, value in members.items()}
    problems = told.pop("problems", "")
    try:
        status = msgspec.convert(told, AgentStatus, builtin_types=(bytes,))
    except msgspec.ValidationError:
        return None
    codes = problems.split()[:PROBLEMS_MAX] if isinstance(problems, str) else []
    return msgspec.structs.replace(status, problems=tuple(codes))


_NAMES = {
    "oldest": "oldest_s",
    "interval": "interval_s",
    "newest": "newest_s",
    "clock-offset": "clock_offset_s",
    "monotonic": "monotonic_s",
    "policy-outcome": "policy_outcome",
}
