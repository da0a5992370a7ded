"""A real Debian 12 with systemd as its process 1, in a container with a network of its own.

Laws
- The root file system is made once, beside its final place, and moved there whole. A container writes to memory on top of
  it and never into it, so every boot begins with the same untouched Debian.
- The container is reached through its namespaces alone (nsenter); nothing of it is registered on the host.
- It is powered off when the block ends. It lives in mount and process namespaces of its own, so that it ends with the
  process that started it even where that is killed: nothing is left running or mounted.
- Where it cannot run, `LabUnavailable` says why.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.asterisk import CACHE, DEBOOTSTRAP_LIMIT_S, ISOLATED, LabUnavailable, end, only_one, wait_for

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,adduser,iproute2"
BOOT_LIMIT_S = 60
"""It is up in about five seconds on two cores."""
POWER_OFF_LIMIT_S = 30
COMMAND_LIMIT_S = 120
UP = ("running", "degraded")
"""`degraded`: some unit of Debian's own cannot work in a container; that is none of ours."""
MEMORY_ON_TOP = "--volatile=overlay"


def make_root(root: Path) -> None:
    """Debian 12 by debootstrap, unless it is there already. About 310 MB, and a minute."""
    if root.exists():
        return
    partial = root.with_name(root.name + ".partial")
    log = root.with_name(root.name + ".log")
    shutil.rmtree(partial, ignore_errors=True)
    command = [*ISOLATED, "debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(partial)]
    with log.open("wb") as out:
        try:
            subprocess.run(command, stdout=out, stderr=out, check=True, timeout=DEBOOTSTRAP_LIMIT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise LabUnavailable(f"debootstrap failed ({error}); it last said: {last}") from error
    partial.rename(root)


def require_container_tools() -> None:
    """Raise LabUnavailable unless we are root and can make a container."""
    if os.geteuid() != 0:
        raise LabUnavailable("a container with systemd needs root")
    missing = [
        tool
        for tool in ("debootstrap", "systemd-nspawn", "nsenter", "unshare", "setpriv")
        if shutil.which(tool) is None
    ]
    if missing:
        raise LabUnavailable(f"no {', '.join(missing)}: apt-get install debootstrap systemd-container util-linux")


class DebianLab:
    """`with DebianLab({"/src": checkout}) as debian:` boots; the folders given are there, read-only, under those names."""

    def __init__(self, shown: Mapping[str, Path], root: Path = CACHE / "debian") -> None:
        self.root = root
        self._shown = dict(shown)
        self._console = root.with_name(root.name + ".console")
        self._leader = 0
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        require_container_tools()
        with self._exit:
            self._exit.enter_context(only_one(self.root.with_name(self.root.name + ".lock")))
            make_root(self.root)
            self._boot()
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.close()

    # --- what runs in it

    def run(self, *command: str, stdin: str = "", check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container. Raises AssertionError with what it said where it fails and `check` is set."""
        inside = ["nsenter", "-t", str(self._leader), "-a", "--", *command]
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(
            inside, input=stdin, capture_output=True, text=True, env=clean, timeout=COMMAND_LIMIT_S, check=False
        )
        if check:
            assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def write(self, path: str, text: str) -> None:
        self.run("tee", path, stdin=text)

    def unit(self, name: str, key: str) -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "-P", key, name).stdout.strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "-u", unit, "-o", "cat", "--no-pager").stdout

    # --- up and down

    def _boot(self) -> None:
        command = [*ISOLATED, "--mount-proc", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit"]
        command += ["--private-network", "--boot"]
        command += [MEMORY_ON_TOP, f"--directory={self.root}", "--console=pipe"]
        command += [f"--bind-ro={folder}:{name}" for name, folder in self._shown.items()]
        console = self._exit.enter_context(self._console.open("wb"))
        nspawn = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
        )
        self._exit.callback(self._power_off, nspawn)
        wait_for(lambda: self._is_up(nspawn), BOOT_LIMIT_S, f"Debian did not come up; see {self._console}", 0.2)

    def _is_up(self, nspawn: "subprocess.Popen[bytes]") -> bool:
        if nspawn.poll() is not None:
            last = (self._console.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise LabUnavailable(f"systemd-nspawn ended with {nspawn.returncode}; it last said: {last}")
        if not self._leader:
            self._leader = _descendant(nspawn.pid, "systemd")
            return False
        try:
            return self.run("systemctl", "is-system-running", check=False).stdout.strip() in UP
        except subprocess.TimeoutExpired:
            return False

    def _power_off(self, nspawn: "subprocess.Popen[bytes]") -> None:
        """SIGRTMIN+4 asks systemd for a clean power-off (systemd(1), "Signals")."""
        if self._leader:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.kill(self._leader, signal.SIGRTMIN + 4)
                nspawn.wait(POWER_OFF_LIMIT_S)
        end(nspawn)


def _descendant(pid: int, name: str) -> int:
    """The container's process 1, as the host numbers it; 0 as long as there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        for child in map(int, children.read_text().split()):
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                return child
            if found := _descendant(child, name):
                return found
    except OSError:
        return 0
    return 0
