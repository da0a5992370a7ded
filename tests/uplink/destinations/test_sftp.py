"""Files by SFTP, before Debian's OpenSSH: whole or not there, each event once, whatever fails and whoever answers."""

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random

import asyncssh
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.uplink.destinations.drained import drained_by_killed_agents
from tests.uplink.destinations.sshd import SSHD, Sshd, needs_sshd, new_key
from tests.uplink.destinations.test_files import FORMS, every_form, ids
from tests.uplink.fault_proxy import End, FaultProxy, Line, Say, Swallow, fault_proxy, pump
from tests.uplink.feed import MemoryFeed
from tests.uplink.platform import Clock
from uplink.destinations import TAKERS, sftp_folder
from uplink.destinations.file_forms import FileName, Shape
from uplink.destinations.sftp import SftpSettings
from uplink.destinations.sftp_folder import SftpFolder
from uplink.destinations.sftp_session import Session, unusable
from uplink.forwarder import Forwarder
from uplink.line import CredentialsUnreadable
from uplink.taker import Names, event_of

pytestmark = needs_sshd


def a_name(first: int, last: int) -> str:
    return f"site-1_2026-11-20_{first:012d}-{last:012d}_0123456789abcdef.csv"


NAME = a_name(1, 3)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not SSHD.exists():
        yield None  # type: ignore[misc]  # its tests skip
        return
    with Sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def given_for(sshd: Sshd, folder: Path, **changes: object) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": sshd.port,
        "user": sshd.user,
        "key_file": str(sshd.key),
        "known_hosts": str(sshd.known_hosts),
        "folder": str(folder),
        "timeout_s": 10.0,
        **changes,
    }


@asynccontextmanager
async def forwarding(sshd: Sshd, folder: Path, feed: MemoryFeed, **changes: object) -> AsyncIterator[Forwarder]:
    made = msgspec.convert(given_for(sshd, folder, **changes), SftpSettings)
    taker = TAKERS["sftp"].open(made, "site-1")
    try:
        yield Forwarder("sftp", feed, taker, made.names, 900_000, Clock(), Random(1))
    finally:
        await taker.close()


def recorded(count: int) -> MemoryFeed:
    feed = MemoryFeed()
    feed.record(count)
    return feed


def shown(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@every_form
async def test_what_is_put_there_is_what_a_folder_of_this_machine_is_given(
    sshd: Sshd, out: Path, tmp_path: Path, form: str, compressed: bool
) -> None:
    feed, shape = recorded(5), {"form": form, "compressed": compressed, "max_events": 3}
    async with forwarding(sshd, out, feed, **shape) as loop:
        report = await loop.upload()
    assert (report.acked, report.problem, feed.through) == (5, "", 5)
    here = tmp_path / "here"
    here.mkdir()
    feed.through = 0
    made = msgspec.convert({"folder": str(here), **shape}, TAKERS["files"].settings)
    await Forwarder("files", feed, TAKERS["files"].open(made, "site-1"), Names(), 900_000, Clock(), Random(1)).upload()
    assert {name: (out / name).read_bytes() for name in os.listdir(out)} == {
        name: (here / name).read_bytes() for name in os.listdir(here)
    }


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(FORMS),
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.booleans()), min_size=2, max_size=5),
)
def test_requests_that_are_made_again_with_any_other_cut_put_no_event_there_twice(
    sshd: Sshd,
    tmp_path_factory: pytest.TempPathFactory,
    form: tuple[str, bool],
    steps: list[tuple[int, int, bool]],
) -> None:
    """Each step is a request from behind the first number up to the second, by a new agent or the one before."""
    folder = tmp_path_factory.mktemp("out")
    feed = recorded(12)
    events = [event for item in feed.items if (event := event_of(item.position, item.body, Names()))]
    made = msgspec.convert(given_for(sshd, folder, form=form[0], compressed=form[1]), SftpSettings)
    reached: set[str] = set()

    async def run() -> None:
        taker = TAKERS["sftp"].open(made, "site-1")
        for first, last, anew in steps:
            if anew:
                await taker.close()
                taker = TAKERS["sftp"].open(made, "site-1")
            if wanted := events[first:last]:
                await taker.send(wanted)
                reached.update(event.id for event in wanted)
        await taker.close()

    asyncio.run(run())
    there = ids(folder)
    assert len(there) == len(set(there))
    assert set(there) == reached


class Cut(Struct, frozen=True):
    """Both ways are open until the agent has sent `after` bytes; then the line is reset, or silent."""

    after: int
    silent: bool = False

    async def play(self, near: End, far: Line) -> None:
        there = await far.open()
        down = asyncio.create_task(pump(there, near))
        await pump(near, there, self.after)
        if self.silent:
            await asyncio.sleep(2)
        down.cancel()
        near.reset()
        there.reset()


@asynccontextmanager
async def failing_line(sshd: Sshd, known_hosts: Path) -> AsyncIterator[tuple[FaultProxy, dict[str, object]]]:
    """A proxy before the server, and the settings that lead there."""
    async with fault_proxy(f"ssh://127.0.0.1:{sshd.port}") as proxy:
        port = int(proxy.url.rpartition(":")[2])
        known_hosts.write_text(sshd.known_hosts.read_text().replace(f":{sshd.port}", f":{port}"))
        yield proxy, {"port": port, "known_hosts": str(known_hosts)}


async def test_a_line_that_is_cut_again_and_again_leaves_every_event_there_once_in_whole_files(
    sshd: Sshd, out: Path, tmp_path: Path
) -> None:
    """The login takes some 2,500 bytes, and a file of 15 events some 2,500 more."""
    feed, chance = recorded(60), Random(os.getpid())
    async with failing_line(sshd, tmp_path / "known") as (proxy, there):
        proxy.faults = [Cut(chance.randrange(2_000, 6_000)) for _ in range(10)]
        async with forwarding(sshd, out, feed, max_events=15, **there) as loop:
            while (problem := (await loop.upload()).problem) == "reset":
                assert set(ids_of_whole(out)) <= set(feed.ids())
    assert (problem, feed.through) == ("", 60)
    assert len(proxy.played) > 5
    assert sorted(ids(out)) == sorted(feed.ids())


async def test_a_server_that_falls_silent_in_the_midst_is_not_waited_for_longer_than_its_time(
    sshd: Sshd, out: Path, tmp_path: Path
) -> None:
    feed = recorded(15)
    async with failing_line(sshd, tmp_path / "known") as (proxy, there):
        proxy.faults = [Cut(4_000, silent=True)]
        async with forwarding(sshd, out, feed, timeout_s=1.0, **there) as loop:
            assert (await loop.upload()).problem == "timeout"
        assert feed.through == 0
        async with forwarding(sshd, out, feed, **there) as loop:
            assert (await loop.upload()).problem == ""
    assert ids(out) == feed.ids()


def ids_of_whole(folder: Path) -> list[str]:
    return [line.split(",")[0] for name in shown(folder) for line in (folder / name).read_text().splitlines()[1:]]


async def test_agents_that_are_killed_between_writing_and_renaming_leave_every_event_there_once(
    sshd: Sshd, out: Path, tmp_path: Path
) -> None:
    seen: set[str] = set()

    async def as_another_file_lies_aside() -> None:
        while not (new := {name for name in os.listdir(out) if name.endswith(".part")} - seen):
            await asyncio.sleep(0.001)
        seen.update(new)

    (out / ".site-1.0a.csv.part").write_bytes(
        b"id,time\r\nhalf"
    )  # of a life before: a kill may come too late to leave one
    given = given_for(sshd, out, max_events=7)
    made = await drained_by_killed_agents(
        tmp_path, "sftp", given, calls=100, moment=as_another_file_lies_aside, kills=3
    )
    assert len(seen) >= 3
    assert [name for name in os.listdir(out) if name.startswith(".")] == []
    assert sorted(ids(out)) == sorted(made)


async def test_an_attempt_that_was_cut_off_and_goes_on_later_gives_a_name_to_nothing(sshd: Sshd, out: Path) -> None:
    """As where a line is cut behind the request to rename, and the server comes to it after the next attempt has begun."""
    feed = recorded(3)
    late = out / ".site-1.00aa.csv.part"
    late.write_bytes(content_of(feed))
    async with forwarding(sshd, out, feed) as loop:
        assert (await loop.upload()).problem == ""
    with pytest.raises(FileNotFoundError):
        late.rename(out / NAME)
    assert ids(out) == feed.ids()


async def test_an_attempt_that_was_cut_off_and_ends_as_the_folder_is_looked_through_is_seen(
    sshd: Sshd, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = recorded(3)
    late = out / ".site-1.00aa.csv.part"
    late.write_bytes(content_of(feed))
    scan = SftpFolder._scan

    async def scan_as_it_ends(self: SftpFolder, session: Session, since: int) -> tuple[list[FileName], list[str]]:
        found = await scan(self, session, since)
        if late.exists():
            late.rename(out / NAME)
        return found

    monkeypatch.setattr(SftpFolder, "_scan", scan_as_it_ends)
    async with forwarding(sshd, out, feed) as loop:
        report = await loop.upload()
    assert (report.known, report.problem, shown(out)) == (3, "", [NAME])


def content_of(feed: MemoryFeed, first: int = 0, last: int = 99) -> bytes:
    items = feed.items[first:last]
    events = [event for item in items if (event := event_of(item.position, item.body, Names()))]
    return Shape("site-1", "csv", False).content(events)


async def test_another_sites_leftovers_and_files_are_left_alone(sshd: Sshd, out: Path) -> None:
    theirs = [".site-2.0a.csv.part", NAME.replace("site-1", "site-2"), "notes.csv", ".site-1.0a.jsonl.part"]
    for name in theirs:
        (out / name).write_text("theirs")
    (out / os.fsdecode(b"\xff\xfe")).write_text("a name that is no text")
    feed = recorded(3)
    async with forwarding(sshd, out, feed) as loop:
        assert (await loop.upload()).problem == ""
    assert {(out / name).read_text() for name in theirs} == {"theirs"}
    assert len(os.listdir(out)) == 6


async def test_a_file_of_ours_that_is_cut_short_or_far_too_long_is_told_of_and_nothing_is_dropped(
    sshd: Sshd, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = recorded(3)
    async with forwarding(sshd, out, feed) as loop:
        assert (await loop.upload()).problem == ""
        (path,) = out.iterdir()
        whole = path.read_bytes()
        feed.through = 0
        for content in (b"", whole[:-1], whole[: len(whole) // 2]):
            path.write_bytes(content)
            assert (await loop.upload()).problem == "folder_unusable"
            assert path.name in loop.backoff.detail
        path.write_bytes(whole)
        monkeypatch.setattr(sftp_folder, "OPENED_MAX_BYTES", len(whole) - 1)
        assert (await loop.upload()).problem == "folder_unusable"
        assert feed.through == 0
        monkeypatch.undo()
        assert (await loop.upload()).problem == ""
    assert (feed.through, ids(out)) == (3, feed.ids())


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("needs to mount a small file system (root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remounted(folder: Path, how: str) -> bool:
    return subprocess.run(["mount", "-o", f"remount,{how}", folder], capture_output=True).returncode == 0


async def test_a_full_disk_keeps_everything_and_shows_no_half_file_and_a_read_only_one_too(
    sshd: Sshd, out: Path
) -> None:
    feed = recorded(600)
    with small_disk(out):
        (out / "theirs").write_bytes(bytes(210_000))
        async with forwarding(sshd, out, feed) as loop:
            assert (await loop.upload()).problem == "destination_full"
            assert "bytes of room" in loop.backoff.detail
            assert (feed.through, shown(out)) == (0, ["theirs"])
            (out / "theirs").unlink()
            while not remounted(out, "ro"):
                await asyncio.sleep(0.05)  # the server still ends the session before
            assert (await loop.upload()).problem == "folder_unusable"
            assert remounted(out, "rw")
            assert (await loop.upload()).problem == ""
        assert [name for name in os.listdir(out) if name.startswith(".")] == []
        assert sorted(ids(out)) == sorted(feed.ids())


async def test_a_folder_that_is_missing_or_closed_keeps_everything(sshd: Sshd, out: Path, tmp_path: Path) -> None:
    feed = recorded(3)
    async with forwarding(sshd, out / "not-mounted", feed) as loop:
        assert (await loop.upload()).problem == "folder_unusable"
        assert "No such file" in loop.backoff.detail
    assert not (out / "not-mounted").exists()
    own = tmp_path / "read-only"
    own.mkdir()
    with Sshd(own, sftp="/usr/lib/openssh/sftp-server -R") as closed:
        async with forwarding(closed, out, feed) as loop:
            assert (await loop.upload()).problem == "folder_unusable"
            assert "Permission denied" in loop.backoff.detail
    assert (feed.through, feed.refused, os.listdir(out)) == (0, {}, [])


async def test_a_server_without_openssh_s_extensions_is_served_and_what_it_lacks_is_told_once(
    tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    feed = recorded(5)
    with Sshd(tmp_path, sftp="/usr/lib/openssh/sftp-server -P fsync,posix-rename,limits,statvfs") as plain:
        async with forwarding(plain, out, feed, max_events=2) as loop:
            assert (await loop.upload()).problem == ""
    assert ids(out) == feed.ids()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "127.0.0.1 cannot sync files: what it took may be lost in a power cut"
    ]


async def test_a_server_that_is_started_anew_between_looking_and_writing_is_looked_at_again_the_next_time(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the list of before told of later places is not forgotten with the connection."""
    feed = recorded(9)
    with Sshd(tmp_path) as server:
        async with forwarding(server, out, feed, max_events=3) as loop:
            (out / a_name(4, 6)).write_bytes(content_of(feed, 3, 6))
            ours = SftpFolder.ours

            async def and_down(self: SftpFolder, since: int) -> object:
                found = await ours(self, since)
                if since == 1:
                    server.stop()
                    server.start()
                    await asyncio.sleep(0.1)
                return found

            monkeypatch.setattr(SftpFolder, "ours", and_down)
            while (await loop.upload()).problem:
                pass
    assert sorted(ids(out)) == sorted(feed.ids())


@pytest.mark.parametrize("how", ["known_hosts", "host_keys"])
async def test_a_server_that_shows_another_key_is_told_nothing(tmp_path: Path, out: Path, how: str) -> None:
    feed = recorded(3)
    with Sshd(tmp_path) as server:
        first = server.fingerprint()
        by = {"known_hosts": "", "host_keys": [first]} if how == "host_keys" else {}
        async with forwarding(server, out, feed, **by) as loop:
            assert (await loop.upload()).problem == ""
            feed.record(3)
            server.stop()
            new_key(server.host_key)
            server.start()
            before = len(server.log())
            for _ in range(2):
                assert (await loop.upload()).problem == "host_key"
                assert server.fingerprint() in loop.backoff.detail
            assert (feed.through, len(shown(out))) == (3, 1)
            assert "user" not in server.log()[before:]  # nobody began to log in
            if how == "known_hosts":
                server.known_hosts.unlink()
                assert (await loop.upload()).problem == "credentials"
                server.write_known_hosts()
                assert (await loop.upload()).problem == ""
                assert ids(out) == feed.ids()


async def test_a_server_that_has_only_keys_of_another_kind_is_told_nothing(tmp_path: Path, out: Path) -> None:
    feed = recorded(3)
    server = Sshd(tmp_path)
    new_key(server.host_key, "ecdsa")
    with server:
        async with forwarding(server, out, feed) as loop:
            assert (await loop.upload()).problem == "host_key"
        assert "user" not in server.log()
    assert feed.through == 0


async def test_a_server_that_no_line_of_known_hosts_names_is_told_nothing(
    sshd: Sshd, out: Path, tmp_path: Path
) -> None:
    feed, empty = recorded(3), tmp_path / "empty"
    empty.write_text("")
    async with forwarding(sshd, out, feed, known_hosts=str(empty)) as loop:
        assert (await loop.upload()).problem == "host_key"
    assert feed.through == 0


async def test_who_is_not_let_in_keeps_everything(sshd: Sshd, out: Path, tmp_path: Path) -> None:
    feed = recorded(3)
    async with forwarding(sshd, out, feed, key_file=str(new_key(tmp_path / "other"))) as loop:
        assert (await loop.upload()).problem == "unauthorized"
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    async with forwarding(sshd, out, feed, key_file="", password_file=str(secret)) as loop:
        assert (await loop.upload()).problem == "unauthorized"
    assert (feed.through, feed.refused) == (0, {})


def hashed(password: str) -> str:
    command = ["openssl", "passwd", "-6", password]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


async def test_a_password_opens_the_door(tmp_path: Path, out: Path) -> None:
    """sshd asks its system for it: one that sees another /etc/shadow, in a mount namespace of its own."""
    if os.getuid() != 0:
        pytest.skip("needs a mount namespace (root)")
    feed, secret, shadow = recorded(3), tmp_path / "password", tmp_path / "shadow"
    secret.write_text("open sesame\n")
    shadow.write_text(f"root:{hashed('open sesame')}:20000:0:99999:7:::\n")
    server = Sshd(tmp_path, more="AuthenticationMethods password")
    server.before = ["unshare", "-m", "sh", "-c", f'mount --bind {shadow} /etc/shadow && exec "$@"', "sh"]
    with server:
        async with forwarding(server, out, feed, key_file="", password_file=str(secret)) as loop:
            assert (await loop.upload()).problem == ""
    assert ids(out) == feed.ids()


async def test_where_nobody_or_no_ssh_answers_everything_is_kept(sshd: Sshd, out: Path, tmp_path: Path) -> None:
    feed = recorded(3)
    for changes, problem in (
        ({"port": 1}, "refused"),
        ({"host": "platform.invalid"}, "dns"),
    ):
        async with forwarding(sshd, out, feed, **changes) as loop:
            assert (await loop.upload()).problem == problem
    async with fault_proxy(f"ssh://127.0.0.1:{sshd.port}") as proxy:
        proxy.faults = [Swallow(), Say()]
        port = int(proxy.url.rpartition(":")[2])
        async with forwarding(sshd, out, feed, port=port, timeout_s=1.0) as loop:
            assert (await loop.upload()).problem == "timeout"
            assert (await loop.upload()).problem == "reset"
    page = await asyncio.start_server(a_page, "127.0.0.1", 0)
    async with page, forwarding(sshd, out, feed, port=page.sockets[0].getsockname()[1]) as loop:
        assert (await loop.upload()).problem == "destination_misconfigured"
    with Sshd(tmp_path, sftp="") as no_sftp:
        async with forwarding(no_sftp, out, feed) as loop:
            assert (await loop.upload()).problem == "destination_misconfigured"
    assert (feed.through, feed.refused) == (0, {})


async def a_page(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n" + b"<html>" * 20_000)
    await writer.drain()
    writer.close()


async def test_one_login_serves_requests_that_follow_each_other_and_none_is_kept_for_longer(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_folder, "LINGER_S", 0.2)
    feed = recorded(6)
    with Sshd(tmp_path) as server:
        async with forwarding(server, out, feed, max_events=2) as loop:
            assert (await loop.upload()).batches == 3
            assert server.log().count("Accepted publickey") == 1
            while "Disconnected from user" not in server.log():
                await asyncio.sleep(0.02)
            feed.record(2)
            assert (await loop.upload()).problem == ""
            assert server.log().count("Accepted publickey") == 2
    assert ids(out) == feed.ids()


async def test_a_thin_line_is_not_filled(sshd: Sshd, out: Path) -> None:
    feed = recorded(100)
    began_s = time.monotonic()
    async with forwarding(sshd, out, feed, max_kbit_s=200, form="jsonl") as loop:
        assert (await loop.upload()).problem == ""
    (path,) = out.iterdir()
    assert time.monotonic() - began_s > path.stat().st_size / 25_000 - sftp_folder.BURST_S


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (asyncssh.SFTPQuotaExceeded("quota"), "destination_full"),
        (asyncssh.SFTPNoSpaceOnFilesystem("no space"), "destination_full"),
        (asyncssh.SFTPWriteProtect("read-only"), "folder_unusable"),
        (asyncssh.SFTPConnectionLost("lost"), "reset"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
    ],
)
def test_what_servers_of_later_versions_and_lines_say_is_told_by_its_name(error: Exception, code: str) -> None:
    assert unusable(error).failed.code == code


SETTINGS = {"host": "h", "user": "u", "key_file": "/k", "known_hosts": "/h", "folder": "in"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "a b"},
        {"user": ""},
        {"port": 0},
        {"folder": ""},
        {"key_file": ""},
        {"password_file": "/p"},
        {"known_hosts": ""},
        {"host_keys": ["SHA256:" + "a" * 43]},
        {"known_hosts": "", "host_keys": ["MD5:aa"]},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(SETTINGS | wrong, SftpSettings)


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path) -> None:
    key = new_key(tmp_path / "key")
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", locked], check=True)
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("rubbish")
    for wrong, words in (
        ({"key_file": str(tmp_path / "none")}, "none: No such file"),
        ({"key_file": str(rubbish)}, "rubbish: "),
        ({"key_file": str(locked)}, "locked: Passphrase"),
        ({"known_hosts": str(tmp_path / "none")}, "none: No such file"),
        ({"known_hosts": str(rubbish)}, "rubbish: "),
        ({"key_file": "", "password_file": str(tmp_path / "none")}, "none: No such file"),
    ):
        good = {"known_hosts": "", "host_keys": ["SHA256:" + "a" * 43], "key_file": str(key)}
        if "known_hosts" in wrong:
            good["host_keys"] = []
        with pytest.raises(CredentialsUnreadable, match=words):
            TAKERS["sftp"].open(msgspec.convert(SETTINGS | good | wrong, SftpSettings), "site-1")
