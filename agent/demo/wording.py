"""Numbers as the demonstration says them."""


def count(number: int, noun: str) -> str:
    """`1 call`, `1,204 calls`."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def span(ms: int) -> str:
    """`10 minutes`, `48 seconds`."""
    minutes = round(ms / 60_000)
    return count(minutes, "minute") if ms >= 120_000 else count(round(ms / 1000), "second")
