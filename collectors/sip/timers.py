"""When to look at which call again. Pure.

Laws
- `due` gives each timer once, in the order of their times, at the first time that is not before it.
- Setting one costs the same however many there are: a second's timers are kept together and put in order when they are due.
"""

SECOND_US = 1_000_000

Timer = tuple[int, int]
"""due_us, number of the call"""


class Timers:
    def __init__(self) -> None:
        self._seconds: dict[int, list[Timer]] = {}
        self._from = 0
        """No timer is set for a second before this one."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def set(self, due_us: int, number: int) -> None:
        second = due_us // SECOND_US
        if second < self._from:
            self._from = second
        timers = self._seconds.get(second)
        if timers is None:
            self._seconds[second] = [(due_us, number)]
        else:
            timers.append((due_us, number))
        self._count += 1

    def due(self, now_us: int) -> list[Timer]:
        """Those that are due by now; they are set no more."""
        last = now_us // SECOND_US
        found: list[Timer] = []
        for second in self._passed(last):
            found += self._seconds.pop(second, ())
        self._from = last
        if found and max(found)[0] > now_us:
            self._seconds[last] = [timer for timer in found if timer[0] > now_us]
            found = [timer for timer in found if timer[0] <= now_us]
        self._count -= len(found)
        found.sort()
        return found

    def _passed(self, last: int) -> range | list[int]:
        """Seconds that may have timers, up to this one."""
        if last - self._from <= len(self._seconds):
            return range(self._from, last + 1)
        return [second for second in self._seconds if second <= last]

    def clear(self) -> None:
        self._seconds.clear()
        self._count = 0
