"""Kafka as a destination: its settings. What is sent is made by `kafka_producer.py`, which needs the extra `kafka`.

Law: checking settings touches no network and opens no file; opening reads the files of secrets.
"""

from typing import Annotated, Literal

from msgspec import Meta

from uplink.destinations.settings import TakerSettings
from uplink.extras import missing
from uplink.line import CredentialsUnreadable
from uplink.taker import Taker


class KafkaSettings(TakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`brokers`: host and port, several with commas between. `user` goes with `password_file` (SASL, by `mechanism`), `ca_file`
    and `certificate` with `key_file` with `tls`."""

    brokers: Annotated[str, Meta(pattern=r"^[^\s,/@]+:[0-9]+(,[^\s,/@]+:[0-9]+)*$")]
    topic: Annotated[str, Meta(pattern=r"^[0-9A-Za-z._-]{1,249}$")]
    key: Literal["subject", "site"] = "subject"
    timeout_s: Annotated[float, Meta(ge=1, le=600)] = 30.0
    user: str = ""
    password_file: str = ""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    tls: bool = False
    ca_file: str = ""
    certificate: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together")
        if bool(self.certificate) != bool(self.key_file):
            raise ValueError("certificate and key_file belong together")
        if (self.ca_file or self.certificate) and not self.tls:
            raise ValueError("ca_file and certificate need tls = true")


def open_kafka(settings: KafkaSettings, site: str) -> Taker:
    """Raises CredentialsUnreadable, also where the library for it is not installed."""
    try:
        from uplink.destinations.kafka_producer import Kafka
    except ImportError as error:
        raise CredentialsUnreadable(missing(error, "kafka")) from None
    return Kafka(settings)
