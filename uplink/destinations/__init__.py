"""Where events can be sent: kind -> its settings and how it is opened. Two explicit tables.

PLATFORMS speak our own contract (`[uplink]`); TAKERS take events under names of their own (`[[destination]]`), each kind in
one file with its limits, its answers and what its identity is good for.

Law: checking settings touches no network and opens no file but `token_file`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from uplink.destinations.cgrates import Cgrates, CgratesSettings
from uplink.destinations.files import FilesSettings, open_files
from uplink.destinations.kafka import KafkaSettings, open_kafka
from uplink.destinations.lago import Lago, LagoSettings
from uplink.destinations.nats import NatsSettings, open_nats
from uplink.destinations.openmeter import OpenMeter, OpenMeterSettings
from uplink.destinations.pegcount_http import PegcountHttp, PegcountSettings
from uplink.destinations.settings import HttpTakerSettings, TakerSettings
from uplink.destinations.sftp import SftpSettings, open_sftp
from uplink.destinations.stripe import Stripe, StripeSettings
from uplink.destinations.webhook import Webhook, WebhookSettings
from uplink.shipper import Platform
from uplink.taker import Taker


class PlatformKind(Struct, frozen=True):
    """`settings` is the type of the configuration's `[uplink]` table, `open` makes the destination for one site; the folder is
    that of this machine's identity (`uplink.identity`)."""

    settings: type[PegcountSettings]
    open: Callable[[PegcountSettings, str, Path], Platform]


class TakerKind(Struct, frozen=True):
    """`settings` is the type of a `[[destination]]` table without its `name` and `kind`; `open` gives the taker for a site.
    Opening touches no network, and raises CredentialsUnreadable."""

    settings: type[HttpTakerSettings] | type[TakerSettings]
    open: Callable[[Any, str], Taker]


PLATFORMS: dict[str, PlatformKind] = {
    "pegcount": PlatformKind(settings=PegcountSettings, open=PegcountHttp),
}

TAKERS: dict[str, TakerKind] = {
    "cgrates": TakerKind(settings=CgratesSettings, open=Cgrates),
    "files": TakerKind(settings=FilesSettings, open=open_files),
    "kafka": TakerKind(settings=KafkaSettings, open=open_kafka),
    "lago": TakerKind(settings=LagoSettings, open=Lago),
    "nats": TakerKind(settings=NatsSettings, open=open_nats),
    "openmeter": TakerKind(settings=OpenMeterSettings, open=OpenMeter),
    "sftp": TakerKind(settings=SftpSettings, open=open_sftp),
    "stripe": TakerKind(settings=StripeSettings, open=Stripe),
    "webhook": TakerKind(settings=WebhookSettings, open=Webhook),
}

__all__ = ["PLATFORMS", "TAKERS", "PegcountHttp", "PegcountSettings", "PlatformKind", "TakerKind"]
