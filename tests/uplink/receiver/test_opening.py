"""What `--store` and `--books` may be: an address that is none is said to be none, in one line, and without its password."""

import sqlite3
from pathlib import Path

import pytest

from tests.uplink.platform import TOKENS, receiver_at
from tests.uplink.receiver.storages import Place, opened
from uplink.receiver.serve import ReceiverSettings, serve
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.storage.clickhouse import ClickHouseBooks
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.opening import open_books, open_storage

NO_STORAGES = (
    "postgresql://meter@127.0.0.1:port/metering",
    "postgresql://meter:sec#ret@127.0.0.1/metering",
    "postgresql://meter:sec/ret@127.0.0.1/metering",
    "postgresql://meter@[::1/metering",
    "postgresql://meter@127.0.0.1:1/metering?sslmode=perhaps",
    "postgresql+asyncpg://meter:secret@127.0.0.1/metering",
    "mysql://meter:secret@127.0.0.1/metering",
    "sqlite:///var/lib/secret.db",
    "nats://127.0.0.1:port/PEGCOUNT",
    "nats://meter:sec/ret@127.0.0.1/PEGCOUNT",
    "nats://[::1/PEGCOUNT",
)


@pytest.mark.parametrize("where", NO_STORAGES)
async def test_what_is_no_storage_is_said_to_be_none_and_its_password_is_not(where: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        await open_storage(where)
    assert "sec" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("where", ["clickhouse://meter:sec#ret@127.0.0.1/metering", "clickhouse://[::1/metering"])
async def test_clickhouses_address_likewise(where: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        await ClickHouseBooks.open(where)
    assert "sec" not in str(refused.value)


@pytest.mark.parametrize("origin", ["postgresql://meter:secret@127.0.0.1:1/metering", "/var/lib/secret.db"])
async def test_what_is_consumed_is_a_log(origin: str) -> None:
    with pytest.raises(StoreUnavailable, match="a log is at nats://") as refused:
        await JetStreamStore.open(origin)
    assert "secret" not in str(refused.value)


async def test_a_log_is_not_booked_into_a_log() -> None:
    with pytest.raises(StoreUnavailable, match="booked into a database"):
        await open_books("nats://127.0.0.1/PEGCOUNT")


async def test_an_sqlite_file_is_for_one_receiver(tmp_path: Path) -> None:
    """By another name too; one that has ended leaves it to the next."""
    (tmp_path / "other.db").symlink_to(tmp_path / "receiver.db")
    for name in ("receiver.db", "other.db"):
        async with receiver_at(tmp_path):
            with pytest.raises(StoreUnavailable, match="another receiver or consumer has it"):
                await serve(ReceiverSettings(database=str(tmp_path / name), tokens=TOKENS, port=0))
            with pytest.raises(StoreUnavailable, match="another receiver or consumer has it"):
                await open_books(str(tmp_path / name), alone=True)
    assert (tmp_path / "receiver.db.lock").stat().st_mode & 0o777 == 0o600


async def test_commands_work_on_an_sqlite_file_beside_its_receiver(tmp_path: Path) -> None:
    async with receiver_at(tmp_path), opened(Place(str(tmp_path / "receiver.db"))) as beside:
        assert await beside.put("kind", "key", b"body") == 1


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    async with receiver_at(tmp_path):
        pass
    later = sqlite3.connect(tmp_path / "receiver.db")
    with later:
        later.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('pegcount receiver', 'to_come', '')"
        )
    later.close()
    with pytest.raises(StoreUnavailable, match="of a later version: this one does not know to_come"):
        await open_storage(str(tmp_path / "receiver.db"))


async def test_a_file_that_is_no_database_is_not_kept_locked(tmp_path: Path) -> None:
    (tmp_path / "receiver.db").write_text("no database " * 100)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="not a database"):
            await open_books(str(tmp_path / "receiver.db"), alone=True)
