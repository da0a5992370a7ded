"""What can be wrong with a ledger. `LedgerError` is the root; `code` names the problem in docs/reference/problems.md."""


class LedgerError(Exception):
    """The ledger cannot be used as it is. `hint` says what to do."""

    code = "ledger_error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class LedgerLocked(LedgerError):
    """Another process writes this ledger."""

    code = "ledger_locked"


class LedgerDamaged(LedgerError):
    """SQLite finds pages that are not as it wrote them. The agent ends; the next start sets the file aside."""

    code = "ledger_corrupt"


class LedgerFull(LedgerError):
    """There is no room on the disk; intake stops until there is."""

    code = "ledger_full"


class LedgerAtLimit(LedgerFull):
    """The ledger has grown to `ledger.max_size_mb`; intake stops until pruning has made room."""

    code = "ledger_at_limit"
