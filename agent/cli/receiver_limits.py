"""Options of `pegcount receiver` that say how much it takes of whom: each a field of `uplink.receiver.limits.Limits`.

Law: a batch's limits can be set lower than the contract's and not higher, so that whatever one receiver took, another one over
the same store can read.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import click

from uplink.batch import ENCODED_MAX_BYTES, EVENT_MAX_BYTES, EVENTS_MAX, RAW_MAX_BYTES, BatchLimits
from uplink.receiver.limits import Limits, Rate

MEBIBYTE = 1024 * 1024
_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(?::(\d{1,7}))?")
BURST_S = 5
"""How many seconds' worth may come at once, where no burst is given."""


def _as_rate(_context: click.Context, _param: click.Parameter, value: str) -> Rate:
    """`100`, or `100:500`."""
    found = _RATE.fullmatch(value)
    if found is None or float(found[1]) == 0 or found[2] == "0":
        raise click.BadParameter("requests a second, and perhaps `:` and how many at once: 100:500")
    per_s = float(found[1])
    return Rate(per_s, int(found[2]) if found[2] else max(1, round(BURST_S * per_s)))


def _rate(rate: Rate) -> str:
    return f"{rate.per_s:g}:{rate.burst}"


_DEFAULT = Limits()
_OPTIONS = (
    click.option(
        "--max-body",
        type=click.IntRange(2 * EVENT_MAX_BYTES, ENCODED_MAX_BYTES),
        default=ENCODED_MAX_BYTES,
        show_default=True,
        metavar="BYTES",
        help="One request body as it comes. Agents whose batches are larger send smaller ones.",
    ),
    click.option(
        "--max-inflated",
        type=click.IntRange(2 * EVENT_MAX_BYTES, RAW_MAX_BYTES),
        default=RAW_MAX_BYTES,
        show_default=True,
        metavar="BYTES",
        help="One body after gzip.",
    ),
    click.option(
        "--max-events",
        type=click.IntRange(1, EVENTS_MAX),
        default=EVENTS_MAX,
        show_default=True,
        metavar="N",
        help="Events in a batch; agents are told so with each answer.",
    ),
    click.option(
        "--max-held",
        type=click.IntRange(1, 1024 * 1024),
        default=_DEFAULT.held_max_bytes // MEBIBYTE,
        show_default=True,
        metavar="MIB",
        help="Bodies that come in or wait, all together; beyond it agents are asked to come again.",
    ),
    click.option(
        "--site-rate",
        callback=_as_rate,
        default=_rate(_DEFAULT.site_rate),
        show_default=True,
        metavar="N[:BURST]",
        help="Requests a second of one site, and how many at once.",
    ),
    click.option(
        "--address-rate",
        callback=_as_rate,
        default=_rate(_DEFAULT.address_rate),
        show_default=True,
        metavar="N[:BURST]",
        help="Requests a second of one address (IPv6: of its /64 network), and how many at once.",
    ),
    click.option(
        "--max-connections",
        type=click.IntRange(1, 1_000_000),
        default=_DEFAULT.connections_max,
        show_default=True,
        metavar="N",
        help="Connections open at once.",
    ),
    click.option(
        "--max-connections-per-address",
        type=click.IntRange(1, 1_000_000),
        default=_DEFAULT.connections_per_address,
        show_default=True,
        metavar="N",
        help="Of one address; a named proxy may have all.",
    ),
    click.option(
        "--head-timeout",
        type=click.FloatRange(1, 600),
        default=_DEFAULT.head_timeout_s,
        show_default=True,
        metavar="SECONDS",
        help="From the first octet of a request to the end of its headers, and for a TLS handshake.",
    ),
    click.option(
        "--body-timeout",
        type=click.FloatRange(1, 3600),
        default=_DEFAULT.body_timeout_s,
        show_default=True,
        metavar="SECONDS",
        help="For all of a body: 500 kB at 64 kbit/s take 63 s.",
    ),
    click.option(
        "--stalled-timeout",
        type=click.FloatRange(1, 3600),
        default=_DEFAULT.stalled_timeout_s,
        show_default=True,
        metavar="SECONDS",
        help="How long a client may take nothing of its answer.",
    ),
)


def limits_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command `limits`, made of its options."""

    @functools.wraps(command)
    def with_limits(
        *,
        max_body: int,
        max_inflated: int,
        max_events: int,
        max_held: int,
        site_rate: Rate,
        address_rate: Rate,
        max_connections: int,
        max_connections_per_address: int,
        head_timeout: float,
        body_timeout: float,
        stalled_timeout: float,
        **others: Any,
    ) -> Any:
        limits = Limits(
            body_max_bytes=max_body,
            batch=BatchLimits(events=max_events, raw_bytes=max_inflated),
            held_max_bytes=max_held * MEBIBYTE,
            site_rate=site_rate,
            address_rate=address_rate,
            connections_max=max_connections,
            connections_per_address=max_connections_per_address,
            head_timeout_s=head_timeout,
            body_timeout_s=body_timeout,
            stalled_timeout_s=stalled_timeout,
        )
        return command(limits=limits, **others)

    return functools.reduce(lambda made, option: option(made), reversed(_OPTIONS), with_limits)
