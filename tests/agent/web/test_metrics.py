"""The metrics text; expected lines are written by hand."""

from msgspec import structs

from agent.web.metrics import METRICS, exposition
from tests.agent.web.snapshots import BROKEN, BUSY, EMPTY
from tests.exposition import samples


def test_the_figures_are_the_snapshots() -> None:
    lines = exposition(BUSY).splitlines()
    for line in (
        'pegcount_source_legs_total{source="office-pbx",kind="asterisk_cdr"} 1204',
        'pegcount_source_up{source="trunk",kind="hep"} 0',
        'pegcount_source_counter_total{source="office-pbx",kind="asterisk_cdr",counter="rotations"} 1',
        "pegcount_events_total 1942",
        'pegcount_uplink_backlog_events{destination="platform"} 42',
        'pegcount_uplink_oldest_waiting_seconds{destination="platform"} 192.0',
        "pegcount_today_billed_minutes 412.5",
        'pegcount_health{health="ok"} 1',
        'pegcount_health{health="broken"} 0',
        "# TYPE pegcount_calls_settling gauge",
    ):
        assert line in lines


def test_every_scrape_is_well_formed() -> None:
    for snapshot in (BUSY, EMPTY, BROKEN):
        assert samples(exposition(snapshot))


def test_labels_are_escaped() -> None:
    source = structs.replace(BUSY.sources[0], name='a"b\\c\nd')
    text = exposition(structs.replace(BUSY, sources=(source,)))
    assert 'source="a\\"b\\\\c\\nd"' in text


def test_problems_are_counted_by_code() -> None:
    assert 'pegcount_problems{code="disk_full",severity="error"} 1' in exposition(BROKEN)


def test_names_are_unique_and_counters_end_in_total() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    assert [m.name for m in METRICS if (m.type == "counter") != m.name.endswith("_total")] == []
