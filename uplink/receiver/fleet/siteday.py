"""One site's day, as the store has it.

Law: it is bounded however long a site has reported: sums that stand, the last EPOCHS_SHOWN epochs, BATCHES_SHOWN batches and
ACTS_SHOWN acts.
"""

from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from uplink.receiver import acts
from uplink.receiver.acts import Act
from uplink.receiver.agents import AgentKey
from uplink.receiver.fleet.verdict import Known
from uplink.receiver.resending import Resend
from uplink.receiver.storage import Booked, EpochState, Storage, Store, Total, TotalsQuery

EPOCHS_SHOWN = 20
BATCHES_SHOWN = 20
ACTS_SHOWN = 20
BATCHES_READ = 1000
"""A batch has an event at least: so many numbers hold the last batches, and no more batches than that."""


class SiteDay(Struct, frozen=True, kw_only=True):
    """`calls`: 24 sums of `call` by UTC hour. `epochs`, `batches`, `keys`, `acts`: the last first; batches of the last epoch.
    `asked`: what it is to send again."""

    known: Known
    day: str
    totals: Sequence[Total]
    calls: Sequence[Decimal]
    epochs: Sequence[EpochState]
    batches: Sequence[Booked]
    keys: Sequence[AgentKey]
    acts: Sequence[Act]
    asked: Resend | None


async def site_day(
    store: Storage, known: Known, day: str, keys: Sequence[AgentKey] = (), asked: Resend | None = None
) -> SiteDay:
    """Raises StoreUnavailable."""
    site, epochs = known.site, await store.epochs(known.site)
    return SiteDay(
        known=known,
        day=day,
        totals=await store.totals(TotalsQuery(site=site, first_day=day, last_day=day)),
        calls=await store.calls_by_hour(site, day),
        epochs=epochs[: -EPOCHS_SHOWN - 1 : -1],
        batches=await _last_batches(store, site, epochs[-1]) if epochs else [],
        keys=keys,
        acts=await acts.of_site(store, site, ACTS_SHOWN),
        asked=asked,
    )


async def _last_batches(store: Store, site: str, epoch: EpochState) -> list[Booked]:
    after = max(0, epoch.acked_through - BATCHES_READ)
    return (await store.batches(site, epoch.epoch, after, BATCHES_READ))[: -BATCHES_SHOWN - 1 : -1]
