"""Files in a folder of a server that speaks SFTP: the settings. What carries them is `sftp_folder.py`, which needs the extra
`sftp`.

Law: checking settings touches no network and opens no file; opening reads the files that they name.
"""

from typing import Annotated

from msgspec import Meta

from uplink.destinations.folder import FolderSettings, FolderTaker, shape_of
from uplink.extras import missing
from uplink.line import CredentialsUnreadable
from uplink.taker import Taker

Fingerprint = Annotated[str, Meta(pattern=r"^SHA256:[0-9A-Za-z+/]{43}$")]


class SftpSettings(FolderSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`user` shows `key_file` or the first line of `password_file`; the server a key that is in `known_hosts`, or that has one
    of the fingerprints in `host_keys`. `timeout_s`: for each answer of the server. `max_kbit_s`: the most that files may take
    of the line; 0 for all of it."""

    host: Annotated[str, Meta(pattern=r"^[^\s/@]+$")]
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    user: Annotated[str, Meta(min_length=1)]
    key_file: str = ""
    password_file: str = ""
    known_hosts: str = ""
    host_keys: tuple[Fingerprint, ...] = ()
    folder: Annotated[str, Meta(min_length=1)]
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 60.0
    max_kbit_s: Annotated[int, Meta(ge=0, le=10_000_000)] = 0

    def where(self) -> str:
        return f"{self.host}:{self.port} {self.folder.rstrip('/')}"

    def __post_init__(self) -> None:
        if bool(self.key_file) == bool(self.password_file):
            raise ValueError("exactly one of key_file and password_file must be given")
        if bool(self.known_hosts) == bool(self.host_keys):
            raise ValueError("exactly one of known_hosts and host_keys must be given: the server has to show who it is")


def open_sftp(settings: SftpSettings, site: str) -> Taker:
    """Raises CredentialsUnreadable, also where the library for it is not installed."""
    try:
        from uplink.destinations.sftp_folder import SftpFolder
    except ImportError as error:
        raise CredentialsUnreadable(missing(error, "sftp")) from None
    shape = shape_of(settings, site)
    return FolderTaker(settings, SftpFolder(settings, shape), shape)
