"""One site of the end-to-end test: an agent's configuration, and what the receiver holds of it in the end."""

import json
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from tests.lab.office import PlacedCall

PEGCOUNT = (sys.executable, "-m", "agent.cli")
CHECKOUT = Path(__file__).resolve().parents[2]

MATCH_MS = 1_500
"""A CDR's start is cut to the second; a caller's next call comes seconds later."""

CONFIG = """
[site]
id = "{id}"
provider = "lab"
timezone = "UTC"

[metering]
increment_s = 1
minimum_s = 0
numbers = "full"

[ledger]
path = "{folder}/ledger.db"

[web]
enabled = false

[uplink]
url = "{url}"
token = "{token}"
interval_s = 1
jitter_s = 0

[[source]]
{source}
"""


def write_config(folder: Path, site: str, url: str, token: str, source: str) -> Path:
    folder.mkdir()
    path = folder / "pegcount.toml"
    path.write_text(CONFIG.format(id=site, folder=folder, url=url, token=token, source=source.strip()))
    return path


@dataclass(frozen=True)
class Received:
    """An event as the receiver keeps it, read without the project's own code."""

    epoch: str
    seq: int
    status: int
    body: dict[str, object]

    @property
    def data(self) -> dict[str, object]:
        data = self.body["data"]
        assert isinstance(data, dict)
        return data


@dataclass
class Counted:
    """All events of one call together: corrections net out, what was told last holds."""

    started_at_ms: int
    calls: Decimal = Decimal(0)
    minutes: Decimal = Decimal(0)
    told: dict[str, object] = field(default_factory=dict)


def received(store: Path, site: str) -> list[Received]:
    """Everything that the receiver's database holds of a site, in order; nothing while there is no database yet."""
    if not store.exists():
        return []
    query = (
        "SELECT epoch.name, event.seq, event.status, event.body FROM event"
        " JOIN epoch ON epoch.id = event.epoch_id JOIN site ON site.id = epoch.site_id"
        " WHERE site.name = ? ORDER BY event.position"
    )
    database = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)
    try:
        return [
            Received(epoch, seq, status, json.loads(body))
            for epoch, seq, status, body in database.execute(query, (site,))
        ]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        database.close()


def counted(events: Iterable[Received]) -> list[Counted]:
    """What was counted per call; a call that was taken back whole is not among them."""
    calls: dict[object, Counted] = {}
    for event in events:
        if event.body["type"] not in ("call", "voice.minutes"):
            continue
        at_ms = round(datetime.fromisoformat(str(event.body["time"])).timestamp() * 1000)
        call = calls.setdefault(event.data["call"], Counted(at_ms))
        quantity = Decimal(str(event.data["quantity"]))
        if event.body["type"] == "call":
            call.calls += quantity
        else:
            call.minutes += quantity
        call.told.update(event.data)
    return [call for call in calls.values() if call.calls or call.minutes]


def matched(placed: Iterable[PlacedCall], calls: Iterable[Counted]) -> list[tuple[PlacedCall, Counted | None]]:
    """Each placed call with what was counted for it: the same caller's, begun at the same time."""
    by_caller = defaultdict[object, list[Counted]](list)
    for call in calls:
        by_caller[call.told.get("caller")].append(call)
    pairs: list[tuple[PlacedCall, Counted | None]] = []
    for truth in placed:
        near = [c for c in by_caller[truth.caller] if abs(c.started_at_ms - truth.invited_at_ms) <= MATCH_MS]
        best = min(near, key=lambda c: abs(c.started_at_ms - truth.invited_at_ms), default=None)
        if best is not None:
            by_caller[truth.caller].remove(best)
        pairs.append((truth, best))
    return pairs
