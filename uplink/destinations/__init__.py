"""Where events can be sent: kind -> its settings and how it is opened. One explicit table.

Law: checking settings touches no network and opens no file but `token_file`.
"""

from collections.abc import Callable

from msgspec import Struct

from uplink.destinations.pegcount_http import PegcountHttp, PegcountSettings
from uplink.shipper import Destination


class DestinationKind(Struct, frozen=True):
    """`settings` is the type of the configuration's `[uplink]` table, `open` makes the destination for one site."""

    settings: type[PegcountSettings]
    open: Callable[[PegcountSettings, str], Destination]


DESTINATIONS: dict[str, DestinationKind] = {
    "pegcount": DestinationKind(settings=PegcountSettings, open=PegcountHttp),
}

__all__ = ["DESTINATIONS", "DestinationKind", "PegcountHttp", "PegcountSettings"]
