"""A real Kamailio in front of the lab's Asterisk: a proxy through which phones call, out of the same root file system.

Laws
- It relays and record-routes, so that every message of a call that goes through it is on the wire twice, with one Call-ID.
- It ends with the block, or with the process that started it.
"""

import contextlib
import subprocess
from types import TracebackType
from typing import Self

from tests.lab.asterisk import ETC, ISOLATED, AsteriskLab, LabUnavailable, end, udp_port_is_free, wait_for

PROXY_IP = "127.0.3.1"
BOOT_LIMIT_S = 15
"""It is up in about half a second."""


class Kamailio:
    """`with Kamailio(lab) as proxy:` relays what comes to `proxy.sip_ip`, `proxy.sip_port` to the lab's Asterisk."""

    def __init__(self, lab: AsteriskLab) -> None:
        self.lab = lab
        self.sip_ip, self.sip_port = PROXY_IP, lab.sip_port
        self.log = lab.root / "var/log/kamailio.log"
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._exit:
            self._configure()
            self._boot()
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.close()

    def _configure(self) -> None:
        text = (ETC / "kamailio.cfg").read_text()
        text = text.replace("@PROXY_ADDRESS@", f"{self.sip_ip}:{self.sip_port}")
        (self.lab.root / "etc/lab/kamailio.cfg").write_text(text.replace("@SIP_PORT@", str(self.lab.sip_port)))

    def _boot(self) -> None:
        command = [*ISOLATED, f"--mount-proc={self.lab.root}/proc", "chroot", str(self.lab.root)]
        command += ["kamailio", "-f", "/etc/lab/kamailio.cfg", "-DD", "-E", "-m", "32", "-M", "4", "-Y", "/tmp"]
        out = self._exit.enter_context(self.log.open("wb"))
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._exit.callback(end, server)
        wait_for(lambda: self._booted(server), BOOT_LIMIT_S, f"Kamailio did not boot; see {self.log}")

    def _booted(self, server: "subprocess.Popen[bytes]") -> bool:
        if server.poll() is not None:
            raise LabUnavailable(f"Kamailio ended at its start with {server.returncode}; see {self.log}")
        return not udp_port_is_free(self.sip_port, self.sip_ip)
