"""Which call goes first when room must be made. Pure.

Laws
- In this order: one that nobody has answered in any way, one that rings, one that talks. So a flood of INVITEs pushes out
  itself, and no call that is up.
- Within each, the one that was heard of least recently: in turn, where a call of which something was heard since its last turn
  waits for another one. So the cost of making room does not grow with the number of calls, and that of a message not at all.
  (A `dict` finds its first entry the slower the more were taken from its front, hence the ordered ones.)
- The order is that of `in_order`, so that a table that was stored and read back makes room in the same way.
"""

from collections import OrderedDict
from collections.abc import Iterator

from collectors.sip.state import ANSWERED, TRYING, Group

NOBODY, RINGING, TALKING = 0, 1, 2


class Room:
    """The calls in progress, each in the queue of its `rank`."""

    def __init__(self) -> None:
        self._queues: tuple[OrderedDict[int, Group], ...] = (OrderedDict(), OrderedDict(), OrderedDict())

    def add(self, group: Group) -> None:
        self._queues[group.rank][group.id] = group

    def remove(self, group: Group) -> None:
        del self._queues[group.rank][group.id]

    def in_order(self) -> Iterator[Group]:
        for queue in self._queues:
            yield from queue.values()

    def first(self) -> Group | None:
        """The call that goes first; None where there is none. It stays where it is."""
        for queue in self._queues:
            while queue:
                group = next(iter(queue.values()))
                if not self._moved(queue, group):
                    return group
        return None

    def _moved(self, queue: "OrderedDict[int, Group]", group: Group) -> bool:
        """Whether it was put elsewhere for what was heard of it since it was put here."""
        rank, heard_us = _rank(group), max(dialog.last_us for dialog in group.dialogs)
        if rank > group.rank:
            self.remove(group)
            group.rank = rank
            self.add(group)
        elif heard_us > group.heard_us:
            queue.move_to_end(group.id)
        else:
            return False
        group.heard_us = heard_us
        return True


def _rank(group: Group) -> int:
    rank = NOBODY
    for dialog in group.dialogs:
        if dialog.phase == ANSWERED:
            return TALKING
        if dialog.phase == TRYING and dialog.ringing_us:
            rank = RINGING
    return rank
