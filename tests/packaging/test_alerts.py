"""The rules for alerts ask for metrics that there are, by labels that they have; the page tells of each of them."""

import re
from pathlib import Path

from agent.web.metrics import METRICS as OF_AGENT
from uplink.receiver.fleet.verdict import REASONS
from uplink.receiver.metrics import METRICS, PREFIX

CHECKOUT = Path(__file__).parents[2]
RULES = (CHECKOUT / "packaging/prometheus/pegcount.rules.yml").read_text("utf-8")
EXPRESSIONS = re.findall(r"expr: (?:>\n)?(.*?)\n +(?:for|labels):", RULES, re.DOTALL)
LABELS = {metric.name: set(metric.labels) for metric in OF_AGENT} | {
    PREFIX + metric.name: {metric.label} for metric in METRICS
}


def test_every_metric_that_is_asked_for_is_there() -> None:
    asked = [name for expression in EXPRESSIONS for name in re.findall(r"pegcount_\w+", expression)]
    assert len(EXPRESSIONS) == RULES.count("- alert: ")
    assert len(asked) > 10
    assert set(asked) - set(LABELS) == set()


def test_every_label_is_one_of_its_metric() -> None:
    chosen = re.findall(r"(pegcount_\w+)\{(\w+)=~?\"([^\"]+)\"\}", RULES)
    assert [(name, label) for name, label, _ in chosen if label not in LABELS[name]] == []
    reasons = {part for _, label, value in chosen if label == "reason" for part in value.split("|")}
    assert reasons - set(REASONS) == set()


def test_every_alert_is_described() -> None:
    page = (CHECKOUT / "docs/fleet.md").read_text("utf-8")
    assert [name for name in re.findall(r"- alert: (\w+)", RULES) if f"`{name}`" not in page] == []
