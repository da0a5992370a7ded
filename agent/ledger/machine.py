"""Which machine the ledger lies on: a copied disk, or a backup on other hardware, must not go on under the first one's numbers.

Laws
- The ledger remembers the machine by a hash of its machine-id (machine-id(5) asks that the id itself is kept to oneself).
  On another machine numbering begins anew, in an epoch of its own; what was not acknowledged is written there again, with
  the same ids, so that the platform counts nothing twice.
- A machine without an id is none that could be told from another: nothing is remembered, nothing begun.
- A clone that kept the machine-id as well is found at the platform, as soon as both have reported: see `conflict`.
"""

import hashlib
from pathlib import Path

from sqlite_utils import Database

from agent.ledger.outbox import renew
from agent.ledger.writer import Ledger

REASON = "cloned"
MACHINE_ID = Path("/etc/machine-id")


def fingerprint(path: Path = MACHINE_ID) -> str:
    """64 hexadecimal digits, or nothing where there is no machine-id (a container's image, an early boot)."""
    try:
        told = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return hashlib.sha256(b"pegcount:" + told.encode()).hexdigest() if len(told) == 32 else ""


def settle(db: Database, ledger: Ledger, machine: str) -> bool:
    """Remember the machine; whether it is another one than before, and so a new epoch was begun."""
    if not machine:
        return False
    row = db.execute("SELECT fingerprint FROM machine").fetchone()
    if row is not None and row[0] == machine:
        return False
    db.execute("INSERT OR REPLACE INTO machine (id, fingerprint) VALUES (1, ?)", (machine,))
    if row is not None:
        renew(db, ledger, REASON)
    return row is not None
