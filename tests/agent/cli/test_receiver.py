"""`pegcount receiver`: its options and its token file."""

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from agent.cli.receiver import read_tokens
from tests.agent.cli.commands import SITE_ID, pegcount, running
from tests.uplink.receiver.jetstream import NatsServer


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("one-token\n")
    return file


def test_it_prints_its_address_and_stops_by_sigterm(tmp_path: Path, tokens: Path) -> None:
    store = tmp_path / "receiver.db"
    with running("receiver", "--listen", "127.0.0.1:0", "--store", store, "--token-file", tokens) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.removeprefix("receiving at ").strip()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/v1/sites/{SITE_ID}/batches", data=b"[]", timeout=5)
    assert process.returncode == 0
    assert store.exists()


def test_a_line_is_a_token_and_perhaps_its_site(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    # printf abc | sha256sum; printf secret | sha256sum
    hashed = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    file.write_text(f"# agents\nabc\n\nsha256:{hashed} {SITE_ID}\n")
    assert dict(read_tokens(file).write) == {
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad": "*",
        hashed: SITE_ID,
    }


def test_a_wrong_line_is_named_without_the_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("good\nsecret site and-more\n")
    with pytest.raises(ValueError, match=r"tokens:2: ") as caught:
        read_tokens(file)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "# none\n"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens").write_text(content)
    done = pegcount("receiver", "--store", tmp_path / "r.db", "--token-file", tmp_path / "tokens")
    assert done.status == 78
    assert "no token" in done.err


def test_other_machines_are_served_only_with_tls(tmp_path: Path, tokens: Path) -> None:
    store = tmp_path / "r.db"
    done = pegcount("receiver", "--listen", "0.0.0.0:0", "--store", store, "--token-file", tokens)
    assert (done.status, done.out) == (78, "")
    assert not store.exists()


def test_a_taken_address_is_told(tmp_path: Path, tokens: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        done = pegcount("receiver", "--listen", listen, "--store", tmp_path / "r.db", "--token-file", tokens)
    assert done.status == 69
    assert listen in done.err


def test_a_port_that_is_taken_is_told_in_words(tmp_path: Path, tokens: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = f"127.0.0.1:{other.getsockname()[1]}"
        done = pegcount("receiver", "--listen", place, "--store", tmp_path / "r.db", "--token-file", tokens)
    assert done.status == 69
    assert done.err == f"pegcount receiver: cannot listen at {place}: Address already in use\n"


def test_a_certificate_that_cannot_be_used_is_an_option_that_is_wrong(tmp_path: Path, tokens: Path) -> None:
    common = ("receiver", "--store", tmp_path / "r.db", "--token-file", tokens)
    gone = pegcount(*common, "--certificate", tmp_path / "none.pem", "--key", tokens)
    assert (gone.status, gone.err) == (78, f"pegcount receiver: {tmp_path}/none.pem: No such file or directory\n")
    no_pem = pegcount(*common, "--certificate", tokens, "--key", tokens)
    assert no_pem.status == 78
    assert "are no certificate and its key in PEM" in no_pem.err
    assert not (tmp_path / "r.db").exists()


def test_a_log_is_booked_until_sigterm(tmp_path: Path) -> None:
    with (
        NatsServer() as nats,
        running("receiver", "--consume", nats.url, "--into", tmp_path / "books.db") as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "booking\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    "options", [(), ("--store", "r.db", "--consume", "nats://h"), ("--consume", "nats://h")], ids=str
)
def test_it_receives_or_books_and_not_both(options: tuple[str, ...]) -> None:
    done = pegcount("receiver", *options)
    assert done.status == 2
    assert "--consume and --into" in done.err
