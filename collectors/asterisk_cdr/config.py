"""The configuration of an `asterisk_cdr` source."""

from typing import Annotated
from zoneinfo import ZoneInfoNotFoundError

from msgspec import Meta, Struct

from collectors.asterisk_cdr.stamps import zone_named


class AsteriskCdrConfig(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="asterisk_cdr"
):
    """`path`: Master.csv. `timezone`: of its times, an IANA name, or `auto` (see the README). `trunks`: names of endpoints
    that are lines to the outside, `*` allowed. `settle_s`: how long after its last row a call is taken for whole.
    `poll_s`: how often to look for new lines."""

    path: str
    timezone: str = "auto"
    trunks: tuple[str, ...] = ()
    settle_s: Annotated[float, Meta(ge=0, le=86_400)] = 5
    poll_s: Annotated[float, Meta(ge=0.05, le=60)] = 0.25

    def __post_init__(self) -> None:
        """Raises ValueError, so that a wrong configuration is told with its place in the file."""
        if not self.path:
            raise ValueError("path is empty; it is usually /var/log/asterisk/cdr-csv/Master.csv")
        try:
            if self.timezone != "auto":
                zone_named(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            message = f"timezone {self.timezone!r} is neither `auto` nor the name of a time zone (Europe/Berlin)"
            raise ValueError(message) from error
