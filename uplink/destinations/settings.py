"""What the settings of all destinations that take mapped events have in common.

Law: checking settings touches no network and opens no file.
"""

from typing import Literal

from uplink.line import LineSettings, TimedSettings, first_line
from uplink.taker import Names

Start = Literal["oldest", "newest"]


class TakerSettings(TimedSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A destination that is no HTTP platform. `start`: whether a destination that is new begins with the oldest event that
    the ledger holds, or with the next one."""

    names: Names = Names()
    start: Start = "oldest"


class HttpTakerSettings(LineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A platform with an HTTP API and a secret: `token`, or `token_file`, whose first line is one."""

    names: Names = Names()
    start: Start = "oldest"
    token: str = ""
    token_file: str = ""

    def __post_init__(self) -> None:
        self.check_line()
        self.check_secret()

    def check_secret(self) -> None:
        """Raises ValueError."""
        if bool(self.token) == bool(self.token_file):
            raise ValueError("exactly one of token and token_file must be given")
        if not self.token.isascii() or not self.token.isprintable():
            raise ValueError("token must be printable ASCII")

    def secret(self) -> str:
        """Raises CredentialsUnreadable."""
        return self.token or first_line(self.token_file)
