"""Documents in SQLite: the statements, for the writer's and the reader's connection.

Law: a revision is never given twice for one key, not even after the document was deleted: what was deleted leaves its revision
behind with an empty body.
"""

import sqlite3

from uplink.receiver.storage import ANY, Document

_GONE = b""
"""No document is empty: the body of one that was deleted."""


def get(db: sqlite3.Connection, kind: str, key: str) -> Document | None:
    row = db.execute("SELECT revision, body FROM document WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    return Document(key=key, revision=row[0], body=row[1]) if row and row[1] != _GONE else None


def put(db: sqlite3.Connection, kind: str, key: str, body: bytes, expected: int) -> int | None:
    """Raises ValueError where `body` is empty."""
    if body == _GONE:
        raise ValueError("a document cannot be empty")
    return _write(db, kind, key, body, expected)


def delete(db: sqlite3.Connection, kind: str, key: str, expected: int) -> bool:
    return get(db, kind, key) is not None and _write(db, kind, key, _GONE, expected) is not None


def _write(db: sqlite3.Connection, kind: str, key: str, body: bytes, expected: int) -> int | None:
    row = db.execute("SELECT revision, body FROM document WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    revision, standing = (row[0], row[0] if row[1] != _GONE else 0) if row else (0, 0)
    if expected not in (ANY, standing):
        return None
    db.execute(
        "INSERT INTO document (kind, key, revision, body) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (kind, key) DO UPDATE SET revision = excluded.revision, body = excluded.body",
        (kind, key, revision + 1, body),
    )
    return revision + 1


def listed(db: sqlite3.Connection, kind: str, after: str, limit: int) -> list[Document]:
    rows = db.execute(
        "SELECT key, revision, body FROM document WHERE kind = ? AND key > ? AND body != x'' ORDER BY key LIMIT ?",
        (kind, after, limit),
    )
    return [Document(key=key, revision=revision, body=body) for key, revision, body in rows]
