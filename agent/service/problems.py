"""The agent's own problems: one table of codes, each with what a technician should do. A live capture's causes come from
its collector (`collectors.sip.live.trouble`). The uplink brings its own (`uplink.problems`); docs/reference/problems.md is
written from both.
"""

from msgspec import Struct

from agent.ledger.snapshot import Problem
from collectors.contract import SourceMisconfigured
from collectors.sip.live.trouble import CAUSES


class Code(Struct, frozen=True):
    """`title` names the problem in a few words, `meaning` says what it is, `hint` the next thing to try."""

    severity: str
    title: str
    meaning: str
    hint: str


CODES: dict[str, Code] = {
    "source_unavailable": Code(
        "warning",
        "A source cannot be heard",
        "The file, port or peer of a source is not there now. It is tried again by itself.",
        "Check the path or address in the source's table, and that the phone system runs.",
    ),
    "source_misconfigured": Code(
        "error",
        "A source cannot start",
        "Trying again does not help: the configuration, a password or a permission must be mended.",
        "Read the text, mend it, and restart the agent.",
    ),
    "source_failed": Code(
        "error",
        "A source failed unexpectedly",
        "A fault in the program. The source was started again; nothing that was kept is lost.",
        "Send the log to support.",
    ),
    "source_rejects": Code(
        "warning",
        "Records were rejected",
        "A source said something that could not be read. The text is kept with its reason.",
        "Look at the rejects: the format may have changed, or the file may hold something else.",
    ),
    "source_waits": Code(
        "notice",
        "A source has nothing to read yet",
        "The file does not exist so far, or is away for a moment.",
        "Nothing to do if no call was made yet; otherwise check the path.",
    ),
    "ledger_full": Code(
        "error",
        "No room for the ledger",
        "The disk is full or cannot be written. Intake waits; nothing is lost that was acknowledged.",
        "Make room on the disk that holds the ledger. Intake goes on by itself.",
    ),
    "ledger_at_limit": Code(
        "error",
        "The ledger has reached its limit",
        "The ledger is as large as ledger.max_size_mb allows. Intake waits until pruning makes room.",
        "Let the uplink drain it, shorten ledger.retention_days, or raise ledger.max_size_mb.",
    ),
    "ledger_corrupt": Code(
        "error",
        "The ledger is damaged",
        "SQLite found pages that are not as it wrote them. The agent ends and is started again, with a new ledger.",
        "Check the disk. Keep the file that is set aside: what it held and had not sent can be recovered from it by support.",
    ),
    "ledger_quarantined": Code(
        "error",
        "An unreadable ledger was set aside",
        "The file at ledger.path was no readable ledger. It was moved aside, untouched, and a new one was begun.",
        "Keep the file for support. Sources that keep their records are read again; the platform knows what it has.",
    ),
    "cloned": Code(
        "error",
        "The ledger comes from another machine",
        "The disk was copied, or a backup restored on other hardware. Numbering was begun anew, so that nothing is mixed up.",
        "If the other machine still runs, stop one of them, and enrol this one again with a token of its own.",
    ),
    "clock_backwards": Code(
        "warning",
        "This machine's clock went backwards",
        "The wall clock is behind the newest record of the ledger by more than a minute.",
        "Check time synchronisation (timedatectl).",
    ),
    "uplink_absent": Code(
        "notice",
        "No platform is configured",
        "There is no [uplink] table: records are collected and kept, and nothing is sent.",
        "Add [uplink] when the site is enrolled.",
    ),
    "policy_refused": Code(
        "warning",
        "The platform's policy is refused",
        "It holds what this site does not allow, or what no configuration can hold. The last good one stays in force.",
        "Read the text; the platform's operator mends the policy, or [policy] allow lets more of it in.",
    ),
    "page_unavailable": Code(
        "warning",
        "The status page cannot be served",
        "The address of the page is taken or not this machine's. Counting goes on.",
        "Change [web] listen, or end what uses the port, and restart the agent.",
    ),
    **{
        code: Code("error" if cause.kind is SourceMisconfigured else "warning", cause.title, cause.meaning, cause.hint)
        for code, cause in CAUSES.items()
    },
}


def problem(code: str, about: str = "", text: str = "", hint: str = "", since_ms: int = 0) -> Problem:
    """The problem `code`, with what is particular to this case where there is something."""
    kind = CODES[code]
    return Problem(
        code=code,
        severity=kind.severity,  # type: ignore[arg-type]
        title=kind.title,
        text=text or kind.meaning,
        hint=hint or kind.hint,
        since_ms=since_ms,
        about=about,
    )
