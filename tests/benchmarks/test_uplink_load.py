"""The load of the uplink's benchmark is what agents send: it proves itself, counts, and is the same each time."""

from pathlib import Path

from benchmarks.uplink_load import SITE, backlog, of_ledger, of_sites
from uplink.batch import open_batch
from uplink.receiver.screen import Place, screen


def test_sites_send_batches_that_prove_themselves_and_count() -> None:
    posts = of_sites(2, 1010)
    assert [each.events for each in posts] == [1010, 1010]
    for number, each in enumerate(posts):
        heads = []
        for headers, body in each.batches:
            head, bodies = open_batch(headers, body)
            heads.append((head.first, head.last))
            assert not any(event.refused for event in screen(Place(f"site-{number:05}", "e-1"), head.first, bodies))
        assert heads == [(1, 1000), (1001, 1010)]
    assert of_sites(2, 1010) == posts


def test_a_backlog_is_a_ledger_that_has_sent_nothing(tmp_path: Path) -> None:
    posts = of_ledger(backlog(tmp_path, 30))
    assert posts.path == f"/v1/sites/{SITE.id}/batches"
    ((headers, body),) = posts.batches
    assert len(open_batch(headers, body)[1]) == 30
