"""A platform that speaks version 1 of the contract, over HTTPS.

Law: a batch is posted as it was built, with the site's token; what came back is not judged here (`uplink.session`).
"""

from typing import Annotated, Literal

from msgspec import Meta

from uplink.batch import EVENTS_MAX, RAW_MAX_BYTES, Batch
from uplink.line import HttpLine, LineSettings, first_line
from uplink.session import Answer, Failure


class PegcountSettings(LineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[uplink]` table. Either `token` or `token_file`."""

    kind: Literal["pegcount"] = "pegcount"
    token: str = ""
    token_file: str = ""
    max_events: Annotated[int, Meta(ge=1, le=EVENTS_MAX)] = EVENTS_MAX
    max_bytes: Annotated[int, Meta(ge=1024, le=RAW_MAX_BYTES)] = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        self.check_line()
        if bool(self.token) == bool(self.token_file):
            raise ValueError("exactly one of token and token_file must be given")
        if not self.token.isascii() or not self.token.isprintable():
            raise ValueError("token must be printable ASCII")


class PegcountHttp:
    """`site` is the id under which the platform knows this site. The files that the settings name are read here, so that a
    token that was renewed is taken at the next start. Raises CredentialsUnreadable."""

    def __init__(self, settings: PegcountSettings, site: str) -> None:
        self.settings = settings
        self.target = f"{settings.url.rstrip('/')}/v1/sites/{site}/batches"
        self._headers = {"Authorization": f"Bearer {settings.token or first_line(settings.token_file)}"}
        self._line = HttpLine(settings)

    async def post(self, batch: Batch) -> Answer | Failure:
        return await self._line.post(self.target, batch.body, self._headers | batch.headers)

    async def close(self) -> None:
        await self._line.close()
