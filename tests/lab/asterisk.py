"""A real Asterisk on loopback: Debian's own package in a root file system of its own, with the office of `etc/`.

Laws
- The root file system is made once, beside its final place, and moved there whole: one that was interrupted is never
  taken for a finished one.
- What runs for the root file system, debootstrap and Asterisk, lives in mount and process namespaces of its own, and
  dies with the process that started it. So nothing is left mounted or running, even when that process is killed.
- One lab at a time uses a root file system; another one waits for it.
- Where it cannot run, `LabUnavailable` says why.
"""

import contextlib
import fcntl
import math
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

CACHE = Path(os.environ.get("PEGCOUNT_LAB_CACHE", "/var/cache/pegcount-lab"))
ETC = Path(__file__).parent / "etc"

DEBOOTSTRAP_LIMIT_S = 600
"""It takes a minute with a near mirror; ten minutes are a slow line."""
BOOT_LIMIT_S = 30
"""Asterisk is up in about two seconds."""
QUEUE_FOR_LAB_S = 300
"""A whole lab run takes under two minutes: this is two of them before us."""
RTP_PORTS = 400
"""Two for each of 200 channels at a time, many more than the office has."""

STOP_LIMIT_S = 5
"""Asterisk hangs up and writes its last rows in well under a second."""

WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""What is started so ends when the thread that started it does."""
ISOLATED = (*WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL")
"""What is inside ends with `unshare`, and the mounts with the last that is inside."""

HEP_PASSWORD = "lab-hep"
HEP_NODE = 2001


class LabUnavailable(Exception):
    """The lab cannot run on this machine; the text says what is missing."""


def require(*tools: str) -> None:
    """Raise LabUnavailable unless we are root and have these programs."""
    if os.geteuid() != 0:
        raise LabUnavailable("the lab needs root: it makes a root file system and changes into it")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise LabUnavailable(f"the lab needs {', '.join(missing)}: apt-get install debootstrap sip-tester util-linux")


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Hold the lock file; the kernel lets go of it however we end."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        deadline = time.monotonic() + QUEUE_FOR_LAB_S
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabUnavailable(f"another lab has held {lock} for {QUEUE_FOR_LAB_S} s") from None
                time.sleep(0.5)
        yield


def make_root(root: Path) -> None:
    """Debian sid's Asterisk and Kamailio by debootstrap, unless they are there already. About 600 MB."""
    if root.exists():
        return
    partial = root.with_name(root.name + ".partial")
    log = root.with_name(root.name + ".log")
    shutil.rmtree(partial, ignore_errors=True)
    command = [*ISOLATED, "debootstrap", "--variant=minbase", "--include=asterisk,kamailio", "sid", str(partial)]
    with log.open("wb") as out:
        try:
            subprocess.run(command, stdout=out, stderr=out, check=True, timeout=DEBOOTSTRAP_LIMIT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise LabUnavailable(f"debootstrap failed ({error}); it last said: {last}") from error
    partial.rename(root)


def udp_port_is_free(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_port_base(first: int = 15060, step: int = 1000, last: int = 29060) -> int:
    """A SIP port P such that P and P + 1 ... P + RTP_PORTS look free; below Linux's ephemeral ports (32768 on)."""
    for base in range(first, last + 1, step):
        if all(udp_port_is_free(port) for port in (base, base + 2, base + RTP_PORTS)):
            return base
    raise LabUnavailable(f"no free UDP port base from {first} to {last}")


def tone_ulaw(seconds: float, hertz: int = 400) -> bytes:
    """A tone in G.711 mu-law, 8,000 samples a second: what the lab plays where a real office plays speech."""
    return bytes(_ulaw(round(8000 * math.sin(2 * math.pi * hertz * n / 8000))) for n in range(int(seconds * 8000)))


def _ulaw(sample: int) -> int:
    """G.711 mu-law of a 14-bit-scaled linear sample (ITU-T G.711 table 2a, by the usual bias of 33)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample) // 4, 8158) + 33
    exponent = magnitude.bit_length() - 6
    return ~(sign | exponent << 4 | (magnitude >> exponent + 1) & 0x0F) & 0xFF


@dataclass(frozen=True)
class Phone:
    """An account of the phone system; it logs in with its number and `password`."""

    number: str

    @property
    def password(self) -> str:
        return f"lab-{self.number}"

    def pjsip(self) -> str:
        number = self.number
        return (
            f'[{number}](phone)\nauth={number}\naors={number}\ncallerid="Phone {number}" <{number}>\n'
            f"[{number}](phone-auth)\nusername={number}\npassword={self.password}\n"
            f"[{number}](phone-aor)\n"
        )


class AsteriskLab:
    """`with AsteriskLab(phones, hep_port=...) as lab:` gives a booted Asterisk with an empty Master.csv."""

    def __init__(self, phones: tuple[Phone, ...], carrier_ip: str, hep_port: int, root: Path = CACHE / "office"):
        self.root = root
        self.hep_port = hep_port
        self.phones = phones
        self.carrier_ip = carrier_ip
        self.sip_ip = "127.0.0.1"
        self.sip_port = 0
        self.master_csv = root / "var/log/asterisk/cdr-csv/Master.csv"
        self.messages_log = root / "var/log/asterisk/messages.log"
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        require("debootstrap", "unshare", "setpriv", "chroot")
        with self._exit:
            self._exit.enter_context(only_one(self.root.with_name(self.root.name + ".lock")))
            make_root(self.root)
            self.sip_port = free_port_base()
            self._configure()
            self._furnish()
            self._boot()
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.close()

    def cli(self, command: str) -> str:
        """What Asterisk's own console answers."""
        asked = subprocess.run(
            ["chroot", str(self.root), "asterisk", "-C", "/etc/lab/asterisk.conf", "-rx", command],
            capture_output=True,
            text=True,
            timeout=BOOT_LIMIT_S,
            check=False,
        )
        return asked.stdout

    def cdr_rows(self) -> list[str]:
        return self.master_csv.read_text().splitlines() if self.master_csv.exists() else []

    def _configure(self) -> None:
        words = {
            "@SIP_PORT@": str(self.sip_port),
            "@RTP_FIRST_PORT@": str(self.sip_port + 2),
            "@RTP_LAST_PORT@": str(self.sip_port + RTP_PORTS),
            "@HEP_PORT@": str(self.hep_port),
            "@HEP_PASSWORD@": HEP_PASSWORD,
            "@HEP_NODE@": str(HEP_NODE),
            "@CARRIER_IP@": self.carrier_ip,
            "@CARRIER_ADDRESS@": f"{self.carrier_ip}:{self.sip_port}",
            "@PHONES@": "\n".join(phone.pjsip() for phone in self.phones),
        }
        target = self.root / "etc/lab"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for source in sorted(ETC.glob("*.conf")):
            text = source.read_text()
            for word, value in words.items():
                text = text.replace(word, value)
            (target / source.name).write_text(text)

    def _furnish(self) -> None:
        """A menu and music, empty logs, no voicemail and no registration of an earlier run."""
        for name in ("sounds/lab-menu.ulaw", "moh-lab/tone.ulaw"):
            path = self.root / "usr/share/asterisk" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(tone_ulaw(2))
        # Asterisk looks its own name up for every call; without an answer it asks the network
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
        shutil.rmtree(self.root / "var/spool/asterisk/voicemail", ignore_errors=True)
        (self.root / "var/lib/asterisk/astdb.sqlite3").unlink(missing_ok=True)
        self.messages_log.unlink(missing_ok=True)
        self.master_csv.parent.mkdir(parents=True, exist_ok=True)
        self.master_csv.unlink(missing_ok=True)
        (self.root / "run/asterisk").mkdir(parents=True, exist_ok=True)

    def _boot(self) -> None:
        command = [*ISOLATED, f"--mount-proc={self.root}/proc", "chroot", str(self.root)]
        command += ["asterisk", "-C", "/etc/lab/asterisk.conf", "-f"]
        console = self._exit.enter_context((self.root / "var/log/asterisk/stdout.log").open("wb"))
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self._exit.callback(self._stop, server)
        wait_for(lambda: self._booted(server), BOOT_LIMIT_S, f"Asterisk did not boot; see {self.messages_log}")

    def _stop(self, server: "subprocess.Popen[bytes]") -> None:
        """Hang up and write what is to be written; and if that does not work, end it all the same."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.cli("core stop now")
            server.wait(STOP_LIMIT_S)
        end(server)

    def _booted(self, server: "subprocess.Popen[bytes]") -> bool:
        if server.poll() is not None:
            raise LabUnavailable(f"Asterisk ended at its start with {server.returncode}; see {self.messages_log}")
        return "fully booted" in self.cli("core waitfullybooted")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that we started, and wait until it has."""
    process.kill()
    process.wait()


def wait_for(condition: Callable[[], bool], limit_s: float, otherwise: str, every_s: float = 0.1) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise LabUnavailable(otherwise)
        time.sleep(every_s)
