"""What a source would give, through the very code that keeps and meters, in a ledger that is gone afterwards.

A call is given once: its legs may be up to GATHER_MS apart, where the running agent meters earlier and corrects.
"""

from collections.abc import Iterable, Iterator

from agent.ledger.intake import Intake
from agent.ledger.numbering import Numbering
from agent.ledger.store import open_temporary
from agent.metering.meter import Meter
from agent.metering.rules import Metering, Site
from collectors.contract import Batch, Kind
from collectors.records import Call, FeatureUse, Leg, Registration, Reject, Risk
from uplink.events import MicroTransaction

GATHER_MS = 24 * 3600 * 1000
"""Also how far the clock of a preview stands before its end, where all calls settle."""
END_OF_TIME_MS = 253_402_300_799_000
"""The last second of the year 9999, which is where RFC 3339 ends."""

Finding = Call | Registration | FeatureUse | Risk | Reject | MicroTransaction


def preview(site: Site, metering: Metering, source: str, kind: Kind, batches: Iterable[Batch]) -> Iterator[Finding]:
    """Give what `batches` come to, in the order in which it becomes final."""
    db = open_temporary()
    try:
        with db.atomic():
            numbering = Numbering(db, site.urn, 0)
        intake = Intake(db, Meter(site, metering), numbering, max_rejects=1)
        with db.atomic():
            intake.open_source(source, kind, GATHER_MS, END_OF_TIME_MS - GATHER_MS)
        for batch in batches:
            yield from (record for record in batch.records if not isinstance(record, Leg))
            yield from batch.rejects
            with db.atomic():
                work = intake.apply([(source, batch)], END_OF_TIME_MS - GATHER_MS)
            yield from work.joined
            yield from work.events
        with db.atomic():
            work = intake.apply([], END_OF_TIME_MS)
        yield from work.joined
        yield from work.events
    finally:
        db.close()
