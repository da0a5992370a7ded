"""Events as Parquet, read by DuckDB, which shares no code with what wrote them."""

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.uplink.destinations.test_files import forwarder
from tests.uplink.feed import MemoryFeed
from uplink.destinations.parquet import ROW_GROUP_EVENTS, SCHEMA, parquet
from uplink.events import instant
from uplink.taker import Names, event_of

DOCUMENTED = Path(__file__).resolve().parents[3] / "docs/destinations.md"
DATA = {"quantity": "-0.016667", "unit": "min", "class": "international", "country": "FR", "corrects": "event-0"}


ROWS = "SELECT * REPLACE (epoch_ms(time) AS time, epoch_ms(recorded) AS recorded) FROM read_parquet(?)"


def read(path: Path, query: str = ROWS) -> list[dict[str, Any]]:
    with duckdb.connect() as reader:
        found = reader.execute(query, [str(path)])
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


async def test_a_row_is_what_a_hand_would_write(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(1, subject="+4930123", time="2026-11-20T10:00:00.007Z", data=DATA | {"pdd_ms": 12, "note": 'a "b"'})
    await forwarder(tmp_path, feed, form="parquet", names={"meters": {"voice.minutes": "minutes"}}).upload()
    (path,) = tmp_path.iterdir()
    assert read(path) == [
        {
            "id": "event-1",
            "time": 1_795_168_800_007,
            "site": "site-1",
            "subject": "+4930123",
            "meter": "minutes",
            "quantity": Decimal("-0.016667"),
            "unit": "min",
            "corrects": "event-0",
            "class": "international",
            "country": "FR",
            "epoch": "epoch-1",
            "sequence": 1,
            "recorded": 1_795_168_801_000,
            "data": '{"pdd_ms":12,"note":"a \\"b\\""}',
        }
    ]


async def test_what_an_event_does_not_say_is_null(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(1, data={})
    await forwarder(tmp_path, feed, form="parquet").upload()
    (path,) = tmp_path.iterdir()
    (row,) = read(path)
    assert [name for name, value in row.items() if value is None] == [
        *("quantity", "unit", "corrects", "class", "country"),
    ]
    assert row["data"] == "{}"


async def test_columns_have_types_and_a_file_one_row_group(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(500)
    await forwarder(tmp_path, feed, form="parquet", compressed=True).upload()
    (path,) = tmp_path.iterdir()
    types = {row["column_name"]: row["column_type"] for row in read(path, "DESCRIBE SELECT * FROM read_parquet(?)")}
    assert (types["time"], types["recorded"]) == ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE")
    assert (types["quantity"], types["sequence"]) == ("DECIMAL(30,12)", "BIGINT")
    others = set(types) - {"time", "recorded", "quantity", "sequence"}
    assert {types[name] for name in others} == {"VARCHAR"}
    (shape,) = read(path, "SELECT num_rows, num_row_groups FROM parquet_file_metadata(?)")
    assert shape == {"num_rows": 500, "num_row_groups": 1}
    codecs = read(path, "SELECT DISTINCT compression FROM parquet_metadata(?)")
    assert codecs == [{"compression": "ZSTD"}]
    assert ROW_GROUP_EVENTS >= 100_000  # `max_events` at most


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.decimals(min_value=-(10**17), max_value=10**17, places=12),
            st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        ),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_quantities_times_and_texts_come_back_as_they_went(
    tmp_path_factory: Any, given: list[tuple[Decimal, datetime, str]], compressed: bool
) -> None:
    feed = MemoryFeed()
    wanted = []
    for quantity, when, text in given:
        ms = (when - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
        data = {"quantity": f"{quantity:f}", "unit": text}
        feed.record(1, time=instant(ms), subject=text, data=data)
        wanted.append((quantity, ms, text, text))
    events = [event for item in feed.items if (event := event_of(item.position, item.body, Names()))]
    path = tmp_path_factory.mktemp("parquet") / "events.parquet"
    path.write_bytes(parquet(compressed).write(events))
    query = "SELECT quantity, epoch_ms(time) AS time, subject, unit FROM read_parquet(?)"
    assert [tuple(row.values()) for row in read(path, query)] == wanted


async def test_what_cannot_be_said_exactly_is_put_aside_alone_and_never_rounded(tmp_path: Path) -> None:
    feed = MemoryFeed()
    for quantity in ("0.1", "0.1234567890123", "1e3", "9" * 19, "many", "999999999999999999.999999999999"):
        feed.record(1, data={"quantity": quantity})
    report = await forwarder(tmp_path, feed, form="parquet").upload()
    assert (report.problem, feed.refused_ids()) == ("", ["event-2", "event-3", "event-4", "event-5"])
    assert {refusal.code for refusal in feed.refused.values()} == {"not_exact"}
    (path,) = tmp_path.iterdir()
    assert [row["quantity"] for row in read(path)] == [Decimal("0.1"), Decimal("999999999999999999.999999999999")]


def test_the_page_names_each_column_in_its_order() -> None:
    section = DOCUMENTED.read_text("utf-8").partition("| column of Parquet |")[2].partition("\n\n")[0]
    named = [cell.strip(" `") for line in section.splitlines()[2:] for cell in line.split("|")[1].split(",")]
    assert named == SCHEMA.names
