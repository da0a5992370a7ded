"""The receiver's own numbers, in Prometheus' text format. Only sums: no site, token or number is named in them."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from uplink.receiver.forwarding import Forwarding
from uplink.receiver.gate import Gate
from uplink.receiver.guard import Guard

PREFIX = "pegcount_receiver_"


class Family(NamedTuple):
    """`values` by the value of `label`, or by "" where there is none."""

    name: str
    kind: str
    help: str
    label: str
    values: Mapping[str, float]


class Metrics:
    """`logins`: to the fleet page, by outcome."""

    def __init__(self, gate: Gate, guard: Guard, forwarding: Forwarding, logins: Mapping[str, float]) -> None:
        self.batches: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.body_bytes = 0
        self.answer_s = 0.0
        self._gate = gate
        self._guard = guard
        self._forwarding = forwarding
        self._logins = logins

    def _families(self) -> list[Family]:
        throttled = {"address": self._guard.addresses.refused, "site": self._guard.sites.refused}
        return [
            Family(
                "batches_total",
                "counter",
                "Batches by outcome: accepted, duplicate, heartbeat, or the code of the refusal.",
                "outcome",
                self.batches,
            ),
            Family(
                "events_total",
                "counter",
                "Events stored: counted, known, rejected; mended: written again as their site sent them; lost: so it stated.",
                "status",
                self.events,
            ),
            Family("body_bytes_total", "counter", "Bytes of request bodies, encoded.", "", {"": self.body_bytes}),
            Family(
                "answer_seconds_total",
                "counter",
                "Time spent on batches until they were answered.",
                "",
                {"": self.answer_s},
            ),
            Family("connections", "gauge", "Connections that are open.", "", {"": self._gate.inside}),
            Family(
                "turned_away_total",
                "counter",
                "Connections cut: connections or address (too many), handshake (no TLS came), head (too slow to ask),"
                " stalled (takes no answer), body (goes on with one that was refused).",
                "reason",
                self._gate.turned_away,
            ),
            Family("throttled_total", "counter", "Requests over the rate of their address or site.", "of", throttled),
            Family(
                "logins_total",
                "counter",
                "Logins to the fleet page: in, wrong, throttled (too many attempts), busy (too many at once).",
                "outcome",
                self._logins,
            ),
            Family(
                "forwarded_total",
                "counter",
                "Events that went on to a destination.",
                "destination",
                self._forwarding.sent,
            ),
            Family(
                "forward_troubled",
                "gauge",
                "1 where something stands against a destination.",
                "destination",
                self._forwarding.troubled(),
            ),
        ]

    def text(self) -> str:
        return "".join(_lines(family) for family in self._families())


def _lines(family: Family) -> str:
    name = PREFIX + family.name
    lines = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
    for key, value in family.values.items():
        lines.append(f'{name}{{{family.label}="{key}"}} {value}' if family.label else f"{name} {value}")
    return "\n".join(lines) + "\n"
