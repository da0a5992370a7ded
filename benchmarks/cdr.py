"""CDR lines from a file to the durable ledger, beside `sqlite-utils insert --csv` of the same file.

Both are whole processes, from start to exit, on the same Master.csv. Ours does the most work: it joins rows to calls, classes
and meters them, makes chained events, and syncs each commit to the disk; `sqlite-utils` puts each row into one table.
"""

import json
from pathlib import Path

from benchmarks.cdr_rows import Generated, generate
from benchmarks.measure import Run, median, python
from benchmarks.report import Mismatch, Settings, Table

ROWS = 100_000

OURS = """
import asyncio, json, shutil, sys
from pathlib import Path
from agent.config.tables import Ledger as LedgerSettings
from agent.garbage import collect_seldom
from agent.ledger import queries
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from agent.metering.rules import DialPlan, Metering, Site
from collectors.asterisk_cdr.kind import KIND
from collectors.contract import Batch, Context

collect_seldom()  # as the agent does at its start
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
shutil.rmtree(folder, ignore_errors=True)
site = Site(id="018f2f6c-0000-7000-8000-00000000be7c", provider="msp", dialplan=DialPlan(area="212"))
ledger = Ledger.open(LedgerSettings(path=str(folder / "ledger.db")), site, Metering(increment_s=1, minimum_s=0))
collector = KIND.open(KIND.config(path=str(source), timezone="UTC", trunks=("carrier",)),
                      Context(name="pbx", folder=folder, clock_ms=ledger.clock_ms))

async def main():
    checkpoint = await asyncio.to_thread(ledger.add_source, "pbx", KIND, 5000)
    task = asyncio.create_task(collector.run(ledger.sink("pbx"), checkpoint))
    reader = open_for_reading(ledger.path)
    while not task.done() and reader.execute("SELECT legs FROM source").fetchone()[0] < int(sys.argv[3]):
        await asyncio.sleep(0.01)
    await ledger.sink("pbx").put(Batch(checkpoint=b"end", source_time_ms=ledger.clock_ms()))
    task.cancel()

asyncio.run(main())
ledger.close()
db = open_for_reading(ledger.path)
counts = queries.pipeline(db, 0)
answered, talk = db.execute("SELECT sum(answered), sum(talk_ms) / 1000 FROM call").fetchone()
print(json.dumps(dict(rows=counts.legs, calls=counts.calls, answered=answered, talk_s=talk, rejects=counts.rejects,
                      events=counts.events, corrections=counts.corrections)))
"""


def run(settings: Settings) -> Table:
    """Raises Mismatch where our rows, calls, answered calls or talk time are not those that were generated."""
    expected = generate(round(ROWS * settings.scale))
    source = settings.folder / "Master.csv"
    source.write_bytes(expected.data)
    ours = median([python(), "-c", OURS, str(source), str(settings.folder / "site"), str(expected.rows)], settings.runs)
    found = json.loads(ours.output)
    _check(found, expected)
    peer = _sqlite_utils(source, settings, expected.rows)
    return Table(
        name="cdr",
        title="CDR lines from a file to the durable ledger",
        columns=("contender", "rows", "wall s", "rows/s", "x sqlite-utils", "CPU s", "peak RSS MB"),
        rows=[
            _row("pegcount, to calls and events that are durable", expected.rows, ours, peer),
            _row("sqlite-utils insert --csv", expected.rows, peer, peer),
        ],
        notes=_notes(source, expected, found, settings.runs),
    )


def _check(found: dict[str, int], expected: Generated) -> None:
    wanted = {
        "rows": expected.rows,
        "calls": expected.calls,
        "answered": expected.answered,
        "talk_s": expected.talk_s,
        "rejects": 0,
        "corrections": 0,
    }
    wrong = [f"{name} {found[name]:,} instead of {count:,}" for name, count in wanted.items() if found[name] != count]
    if wrong:
        raise Mismatch("pegcount found " + ", ".join(wrong))


def _sqlite_utils(source: Path, settings: Settings, rows: int) -> Run:
    """The command as a user would type it, into a new file each time, which the count proves."""
    target = settings.folder / "peer.db"
    tool = str(Path(python()).with_name("sqlite-utils"))
    script = (
        f'rm -f "{target}" && "{tool}" insert "{target}" cdr "{source}" --csv --no-headers --silent'
        f' && "{tool}" rows "{target}" cdr --limit 1 >/dev/null'
    )
    found = median(["/bin/sh", "-c", script], settings.runs)
    counted = median([tool, str(target), "select count(*) as n from cdr"], 1)
    if json.loads(counted.output)[0]["n"] != rows:
        raise Mismatch("sqlite-utils did not store every row")
    return found


def _row(name: str, rows: int, run: Run, yardstick: Run) -> tuple[str, ...]:
    return (
        name,
        f"{rows:,}",
        f"{run.wall_s:.2f}",
        f"{rows / run.wall_s:,.0f}",
        f"{yardstick.wall_s / run.wall_s:.3g}",
        f"{run.cpu_s:.2f}",
        f"{run.rss_bytes / 1e6:.0f}",
    )


def _notes(source: Path, expected: Generated, found: dict[str, int], runs: int) -> tuple[str, ...]:
    return (
        f"One generated Master.csv, {source.stat().st_size / 1e6:.0f} MB, 21 columns: {expected.rows:,} rows, "
        f"{expected.calls:,} calls ({expected.answered:,} answered), of which pegcount made {found['events']:,} events.",
        "pegcount's rows, calls, answered calls and talk time were equal to what was generated.",
        f"Whole processes, median wall time of {runs}, largest peak memory.",
    )
