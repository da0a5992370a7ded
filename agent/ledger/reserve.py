"""Room that is kept for a full disk: a file beside the ledger that can be given up.

Laws
- Without room nothing can be written, not even what makes room: acknowledging and pruning. Then the reserve goes, and they can.
- What the reserve's room is for is not intake: while it is spent, nothing is taken in. It is kept again as soon as it fits.
"""

import errno
import os
from pathlib import Path

RESERVE_BYTES = 8 << 20
"""Two steps of pruning (4 MB each in the write-ahead log), or some four hundred acknowledged batches."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".reserve")
        self.spent = not self.keep()

    def keep(self) -> bool:
        """Have the reserve; False where the disk has no room for it. A file system that knows no such thing has none."""
        try:
            with open(self._path, "ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError as error:
            self._remove()
            self.spent = error.errno in _FULL
        else:
            self.spent = False
        return not self.spent

    def give_up(self) -> bool:
        """Give its room to the ledger; False where there is none to give."""
        if self.spent or not self._remove():
            return False
        self.spent = True
        return True

    def _remove(self) -> bool:
        try:
            self._path.unlink()
        except OSError:  # not there, or a disk that can only be read
            return False
        return True
