"""Files that are whole or not there, also after a power cut: written aside, synced, given their name, and the folder synced.
And the reading of small ones.

Law: each step may be the last one before a crash; what then lies aside is written over or taken away by the next attempt.
"""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

OWNER_ONLY = 0o600
RECORD_MAX_BYTES = 65_536
"""What `read_record` reads at most: two hundred platform keys; a platform that has another one each month has as many in
sixteen years."""


def write_aside(aside: Path, content: bytes, mode: int = 0o666) -> None:
    """A new file with what it is to hold, durable but for its name; what an earlier attempt left there goes. Raises
    OSError."""
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in it durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_record(path: Path, kind: type[T], unreadable: type[Exception]) -> T | None:
    """The JSON in a small file; None where there is no file. Raises `unreadable`, with the path and the reason."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(RECORD_MAX_BYTES), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise unreadable(f"{path}: {error}") from None
