"""The long run of `fire`: figures for each storage.

python -m tests.uplink.endurance [--events 200000] [--kills 500] [--storage sqlite|postgresql|jetstream] [--seed N]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.uplink.fire import endure
from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.postgres import Cluster
from tests.uplink.receiver.storages import Place

STORAGES = ("sqlite", "postgresql", "jetstream")


@contextmanager
def fresh(storage: str, folder: Path) -> Iterator[Place]:
    """A storage of that kind with nothing in it."""
    if storage == "sqlite":
        yield Place(str(folder / "receiver.db"))
        return
    with Cluster() as cluster:
        if storage == "postgresql":
            yield Place(cluster.empty())
            return
        with NatsServer() as nats:
            yield Place(nats.url, cluster.empty())


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument("--kills", type=int, default=500)
    options.add_argument("--storage", choices=STORAGES, action="append")
    options.add_argument("--seed", type=int, default=int(time.time()))
    chosen = options.parse_args()
    for storage in chosen.storage or STORAGES:
        with tempfile.TemporaryDirectory() as folder, fresh(storage, Path(folder)) as place:
            outcome = endure(place, chosen.events, chosen.kills, chosen.seed)
            print(
                f"{storage}: {outcome.events} events, killed {outcome.killed}, {outcome.seconds} s, seed {chosen.seed}"
            )


if __name__ == "__main__":
    main()
