"""NATS JetStream as a destination: its settings. What is sent is made by `jetstream.py`, which needs the extra `nats`.

Law: checking settings touches no network and opens no file; opening reads the files of secrets.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from uplink.destinations.settings import TakerSettings
from uplink.line import CredentialsUnreadable
from uplink.taker import Event, Taker

_UNFIT = re.compile(r"[^0-9A-Za-z_-]")
_PART = "{id}"


class NatsSettings(TakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url`: one server or several, separated by commas, `tls://` for TLS. `user` goes with `password_file`; or there
    is `token_file`. `subject` is a template."""

    url: Annotated[str, Meta(pattern=r"^(nats|tls)://[^/@,\s]+(,(nats|tls)://[^/@,\s]+)*$")]
    stream_name: Annotated[str, Meta(pattern=r"^[^\s.*>/\\]{1,255}$")]
    subject: str = "pegcount.{site}.{meter}"
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    user: str = ""
    password_file: str = ""
    token_file: str = ""
    ca_file: str = ""
    certificate: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if self.user and self.token_file:
            raise ValueError("only one of user and token_file can be given")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together")
        if bool(self.certificate) != bool(self.key_file):
            raise ValueError("certificate and key_file belong together")
        try:
            made = self.subject.format_map(dict.fromkeys(("site", "meter", "subject", "id"), "x"))
        except (KeyError, IndexError, ValueError, AttributeError):
            made = ""
        if not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", made):
            raise ValueError(
                "subject must be tokens with dots between, and may hold {site}, {meter}, {subject} and {id}"
            )

    @property
    def subject_is_identity(self) -> bool:
        return _PART in self.subject


def subject_of(template: str, event: Event) -> str:
    """A meter keeps its dots, which part a subject's tokens: `voice.>` then is all that is spoken."""
    tokens = filter(None, event.type.split("."))
    parts: Mapping[str, str] = {
        "site": token(event.source.rpartition(":")[2]),
        "meter": ".".join(token(one) for one in tokens) or "_",
        "subject": token(event.subject),
        "id": token(event.id),
    }
    return template.format_map(parts)


def token(text: str) -> str:
    """One token of a subject: ASCII letters, digits, `_` and `-` stay, all else becomes `_`."""
    return _UNFIT.sub("_", text) or "_"


def open_nats(settings: NatsSettings, site: str) -> Taker:
    """Raises CredentialsUnreadable, also where the library for it is not installed."""
    try:
        from uplink.destinations.jetstream import JetStream
    except ImportError as error:
        raise CredentialsUnreadable(f"{error}: install pegcount[nats]") from None
    return JetStream(settings)
