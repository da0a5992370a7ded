"""OpenMeter: `POST /api/v1/events` of version 1, `POST /api/v3/openmeter/events` of version 3, as CloudEvents batches.

Laws
- The id goes as it is: OpenMeter knows an event again by source and id for 32 days (its `dedupe` setting), and a request that
  is made again is harmless. A request is not atomic there, so a refused one may have been taken in part; that is harmless too.
- `time` always goes with an event: without it OpenMeter takes the time of arrival, and a retry would move the usage.
- Its answer is no durable acknowledgement: the event is with its Kafka producer by then, and a failure there is logged only.
  Compare the sums of both ends (docs/destinations.md).

Source: openmeterio/openmeter, api/openapi.yaml and api/v3/openapi.yaml (2026-08).
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from uplink.destinations.settings import HttpTakerSettings
from uplink.line import HttpLine
from uplink.taker import Event, Limits, Outcome, judge
from uplink.uploader import wall_clock_ms

PATHS = {"v1": "/api/v1/events", "v3": "/api/v3/openmeter/events", "konnect": "/v3/openmeter/events"}
"""As the `servers` of the two files have it; `konnect` is version 3 at Kong's."""
LIMITS = Limits(max_events=500, max_bytes=1024 * 1024)
"""None is published. A request is worked on event by event, and is to end well within a proxy's usual 30 s."""


class OpenMeterSettings(HttpTakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` without the path; `api` is the version of its API, or whose it is."""

    api: Literal["v1", "v3", "konnect"] = "v1"


class _Wire(Struct, frozen=True):
    """All attributes that version 3 permits; version 1 permits more and needs none of them."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any]
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


class OpenMeter:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""

    limits = LIMITS

    def __init__(self, settings: OpenMeterSettings, site: str) -> None:
        self._url = settings.url.rstrip("/") + PATHS[settings.api]
        self._headers = {
            "Authorization": f"Bearer {settings.secret()}",
            "Content-Type": "application/cloudevents-batch+json",
        }
        self._line = HttpLine(settings)

    async def send(self, events: Sequence[Event]) -> Outcome:
        return judge(await self._line.post(self._url, body_of(events), self._headers), wall_clock_ms())

    async def close(self) -> None:
        await self._line.close()


def body_of(events: Sequence[Event]) -> bytes:
    return msgspec.json.encode([_Wire(e.id, e.source, e.type, e.subject, e.time, e.data) for e in events])
