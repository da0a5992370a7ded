"""The ledger's tables, as sqlite-utils migrations: each is applied once, in a transaction, and never changed afterwards.

All tables are STRICT. What has a large body is a rowid table, so that new rows fill its last page; small rows are clustered by
the key that they are looked up by (WITHOUT ROWID).
"""

from sqlite_utils import Database, Migrations

migrations = Migrations("pegcount-ledger")

_TABLES = """
CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    checkpoint BLOB,
    time_ms INTEGER NOT NULL DEFAULT 0,
    heard_at_ms INTEGER NOT NULL DEFAULT 0,
    legs INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0,
    registrations INTEGER NOT NULL DEFAULT 0,
    feature_uses INTEGER NOT NULL DEFAULT 0,
    rejects INTEGER NOT NULL DEFAULT 0,
    rejects_dropped INTEGER NOT NULL DEFAULT 0,
    pruned_before_ms INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE leg (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    call_key TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (source, call_key, key)
) STRICT;
CREATE TABLE settling (
    source INTEGER NOT NULL,
    call_key TEXT NOT NULL,
    news_at_ms INTEGER NOT NULL,
    PRIMARY KEY (source, call_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE call (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    key TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    talk_ms INTEGER NOT NULL,
    billed_s INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    class TEXT NOT NULL,
    outcome TEXT NOT NULL,
    ending TEXT NOT NULL,
    caller TEXT NOT NULL,
    dialled TEXT NOT NULL,
    booked BLOB NOT NULL,
    UNIQUE (source, key)
) STRICT;
CREATE INDEX call_started ON call (started_at_ms);
CREATE TABLE registration (
    source INTEGER NOT NULL,
    key TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    contact TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    PRIMARY KEY (source, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE feature_use (
    source INTEGER NOT NULL,
    key TEXT NOT NULL,
    code TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (source, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE reject (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    key TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    position TEXT NOT NULL,
    excerpt BLOB NOT NULL,
    UNIQUE (source, key)
) STRICT;
CREATE TABLE seat_day (
    day TEXT NOT NULL,
    seat TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (day, seat)
) STRICT, WITHOUT ROWID;
CREATE TABLE epoch (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    started_at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    after_line INTEGER NOT NULL,
    after_epoch TEXT NOT NULL,
    after_chain BLOB NOT NULL
) STRICT;
CREATE TABLE event (
    line INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    chain BLOB NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (id, epoch)
) STRICT;
CREATE TABLE destination (
    name TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    acked_through INTEGER NOT NULL DEFAULT 0,
    chain BLOB NOT NULL,
    backoff BLOB NOT NULL DEFAULT x'',
    receipt BLOB NOT NULL DEFAULT x'',
    acked_at_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE quarantine (
    destination TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (destination, epoch, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE upload (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    took_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


@migrations()
def first_tables(db: Database) -> None:
    for statement in filter(str.strip, _TABLES.split(";")):
        db.execute(statement)


@migrations()
def forwarding(db: Database) -> None:
    """Destinations that take events in the order of their lines. `reissued`: how many of an epoch's first events are those of
    an earlier one. `active`: whether the configuration names the destination; what it does not name holds no event back."""
    db.execute("ALTER TABLE epoch ADD COLUMN reissued INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE destination ADD COLUMN active INTEGER NOT NULL DEFAULT 1")
    db.execute(
        "CREATE TABLE forward (name TEXT PRIMARY KEY, through INTEGER NOT NULL, backoff BLOB NOT NULL DEFAULT x'',"
        " acked_at_ms INTEGER NOT NULL DEFAULT 0, active INTEGER NOT NULL DEFAULT 1) STRICT"
    )


@migrations()
def devices_and_risks(db: Database) -> None:
    """What kind of device registered, how long a text message was, and what a technician should look at."""
    db.execute("ALTER TABLE registration ADD COLUMN device TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE feature_use ADD COLUMN segments INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE source ADD COLUMN risks INTEGER NOT NULL DEFAULT 0")
    db.execute(
        "CREATE TABLE risk (source INTEGER NOT NULL, key TEXT NOT NULL, code TEXT NOT NULL, origin TEXT NOT NULL,"
        " endpoint TEXT NOT NULL, at_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, count INTEGER NOT NULL,"
        " detail TEXT NOT NULL, PRIMARY KEY (source, key)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX risk_until ON risk (until_ms)")


@migrations()
def receipts(db: Database) -> None:
    """The platform's countersignatures (`uplink.receipts`), and the public keys that they were made by. `epoch` is its number;
    a heartbeat has `last` before `first`."""
    db.execute(
        "CREATE TABLE receipt (destination TEXT NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL,"
        " last INTEGER NOT NULL, prev BLOB NOT NULL, chain BLOB NOT NULL, server_time TEXT NOT NULL, key TEXT NOT NULL,"
        " signature BLOB NOT NULL, PRIMARY KEY (destination, epoch, last, first)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE TABLE platform_key (key TEXT PRIMARY KEY, public BLOB NOT NULL) STRICT, WITHOUT ROWID")


@migrations()
def usage(db: Database) -> None:
    """Sums of a site's months, for what a month costs (`agent.ledger.usage`). `amount` is in millionths; `subject` is kept of
    seats only."""
    db.execute(
        "CREATE TABLE usage (month TEXT NOT NULL, meter TEXT NOT NULL, class TEXT NOT NULL, country TEXT NOT NULL,"
        " detail TEXT NOT NULL, subject TEXT NOT NULL, amount INTEGER NOT NULL,"
        " PRIMARY KEY (month, meter, class, country, detail, subject)) STRICT, WITHOUT ROWID"
    )


@migrations()
def machine(db: Database) -> None:
    """The machine that the ledger lies on (`agent.ledger.machine`)."""
    db.execute("CREATE TABLE machine (id INTEGER PRIMARY KEY CHECK (id = 1), fingerprint TEXT NOT NULL) STRICT")
