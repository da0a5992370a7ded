"""The receiver's own numbers, in Prometheus' text format. Only sums: no site, token or number is named in them."""

from collections import Counter

_HELP = {
    "pegcount_receiver_batches_total": "Batches by outcome: accepted, duplicate, heartbeat, or the code of the refusal.",
    "pegcount_receiver_events_total": "Events stored, by status: counted, known, rejected.",
    "pegcount_receiver_body_bytes_total": "Bytes of request bodies, encoded.",
    "pegcount_receiver_answer_seconds_total": "Time spent on batches until they were answered.",
}
_LABEL = {"pegcount_receiver_batches_total": "outcome", "pegcount_receiver_events_total": "status"}


class Metrics:
    def __init__(self) -> None:
        self.batches: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.body_bytes = 0
        self.answer_s = 0.0

    def text(self) -> str:
        samples: dict[str, dict[str, float]] = {
            "pegcount_receiver_batches_total": dict(self.batches),
            "pegcount_receiver_events_total": dict(self.events),
            "pegcount_receiver_body_bytes_total": {"": self.body_bytes},
            "pegcount_receiver_answer_seconds_total": {"": self.answer_s},
        }
        return "".join(_family(name, values) for name, values in samples.items())


def _family(name: str, values: dict[str, float]) -> str:
    label = _LABEL.get(name)
    lines = [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} counter"]
    lines += [f'{name}{{{label}="{key}"}} {value}' if label else f"{name} {value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
