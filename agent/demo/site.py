"""The demonstration's site: its folder, its ports, and the configuration file that the agent is started with."""

import os
import secrets
import socket
from pathlib import Path

from agent.config import Config, load
from agent.demo.office import AREA, COUNTRY, INCREMENT_S, MAILBOXES, MINIMUM_S
from agent.demo.play import LOOPBACK
from agent.demo.sip_message import CARRIER

SITE_ID = "00000000-0000-4000-8000-000000000de0"
TIMEZONE = "Europe/London"
UPLOAD_EVERY_S = 3
SETTLE_S = 2


class PortTaken(Exception):
    """The port that was asked for is somebody else's."""


def free_port(kind: socket.SocketKind, wanted: int = 0) -> int:
    """`wanted`, or any free port of loopback. Raises PortTaken."""
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError as error:
            text = f"port {wanted} of {LOOPBACK} cannot be used ({error.strerror}); choose another one with --port"
            raise PortTaken(text) from None
        return int(probe.getsockname()[1])


class Folder:
    """The demonstration's files. What is in it already is gone on with."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path.absolute()
        self.config = self.path / "pegcount.toml"
        self.ledger = self.path / "ledger.db"
        self.receiver = self.path / "receiver.db"
        self.master_csv = self.path / "Master.csv"
        self.token = self.path / "token"
        self._until = self.path / "office.until"

    def read_token(self) -> str:
        """The site's token, made on first use."""
        if not self.token.exists():
            descriptor = os.open(self.token, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
        return self.token.read_text().strip()

    def played_until_ms(self) -> int:
        """Where an earlier run's office stopped: its phone systems' clocks do not go back. 0 where there was none."""
        try:
            return int(self._until.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def note_until(self, at_ms: int) -> None:
        self._until.write_text(f"{at_ms}\n")

    def write_config(self, receiver_url: str, hep_port: int, page_port: int) -> Config:
        """Write the configuration, and read it as any agent does."""
        text = CONFIG.format(
            site_id=SITE_ID,
            timezone=TIMEZONE,
            country=COUNTRY,
            area=AREA,
            increment_s=INCREMENT_S,
            minimum_s=MINIMUM_S,
            mailboxes=MAILBOXES,
            carrier=CARRIER,
            settle_s=SETTLE_S,
            interval_s=UPLOAD_EVERY_S,
            ledger=_quoted(self.ledger),
            master_csv=_quoted(self.master_csv),
            token=_quoted(self.token),
            url=receiver_url,
            hep=f"{LOOPBACK}:{hep_port}",
            page=f"{LOOPBACK}:{page_port}",
        )
        self.config.write_text(text, encoding="utf-8")
        return load(self.config)


def _quoted(path: Path) -> str:
    """A TOML basic string (TOML 1.0.0, "String")."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


CONFIG = """\
# The demonstration's configuration. Each run of the demonstration writes it anew.
[site]
id = "{site_id}"
provider = "demo"
name = "A small office"
timezone = "{timezone}"

[site.dialplan]
country = "{country}"
area = "{area}"
extensions = ["1XX", "2XX"]
service = ["*.", "3XX", "7XX"]

[metering]
increment_s = {increment_s}
minimum_s = {minimum_s}

[ledger]
path = {ledger}

[uplink]
url = "{url}"
token_file = {token}
interval_s = {interval_s}
jitter_s = 0

[web]
listen = "{page}"

[log]
level = "warning"

# The main house: an Asterisk that writes its calls into a file
[[source]]
name = "cdr"
kind = "asterisk_cdr"
path = {master_csv}
timezone = "UTC"
trunks = ["carrier"]
settle_s = {settle_s}

# The annex: a phone system whose SIP is copied to us
[[source]]
name = "sip"
kind = "hep"
listen = "{hep}"

[source.trunks]
carrier = "{carrier}"

[source.services]
"{mailboxes}" = "voicemail_retrieve"
"""
