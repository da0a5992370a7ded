"""NATS JetStream as a destination: its settings. What is sent is made by `jetstream.py`, which needs the extra `nats`.

Law: checking settings touches no network and opens no file; opening reads the files of secrets.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from uplink.destinations.settings import TakerSettings
from uplink.extras import missing
from uplink.line import CredentialsUnreadable
from uplink.nats_login import NatsLogin
from uplink.taker import Event, Taker

_UNFIT = re.compile(r"[^0-9A-Za-z_-]")
_PART = "{id}"


class NatsSettings(TakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url`: one server or several, separated by commas, `tls://` for TLS. `user` goes with `password_file`; or there
    is `token_file`, `creds_file` or `nkey_file`. `subject` is a template."""

    url: Annotated[str, Meta(pattern=r"^(nats|tls)://[^/@,\s]+(,(nats|tls)://[^/@,\s]+)*$")]
    stream_name: Annotated[str, Meta(pattern=r"^[^\s.*>/\\]{1,255}$")]
    subject: str = "pegcount.{site}.{meter}"
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    user: str = ""
    password_file: str = ""
    token_file: str = ""
    creds_file: str = ""
    nkey_file: str = ""
    ca_file: str = ""
    certificate: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        self.login().check()
        try:
            made = self.subject.format_map(dict.fromkeys(("site", "meter", "subject", "id"), "x"))
        except (KeyError, IndexError, ValueError, AttributeError):
            made = ""
        if not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", made):
            raise ValueError(
                "subject must be tokens with dots between, and may hold {site}, {meter}, {subject} and {id}"
            )

    def login(self) -> NatsLogin:
        named = {field: getattr(self, field) for field in NatsLogin.__struct_fields__ if field != "tls"}
        return NatsLogin(**named, tls="tls://" in self.url)

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
        raise CredentialsUnreadable(missing(error, "nats")) from None
    return JetStream(settings)
