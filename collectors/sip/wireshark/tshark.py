"""tshark as pyshark runs it, with what pyshark leaves open.

Laws
- tshark reads its standard input. So it has no helper process, and writes no temporary file of all that it reads, as it does
  with `-i -`.
- It dies with this process, sees nothing of the user's Wireshark profile, and leaves nothing behind: its home and its
  temporary files lie in a folder that goes with it.
- A frame in is a `Dissection` out, in order and without delay: no display filter, one line each (`-l`).
- Imported only where this engine is asked for: pyshark and what it brings take a third of a second to start.

docs/decisions/0017-pyshark-by-its-octets.md says what is taken of pyshark, and what is not.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from pyshark.capture.capture import Capture
from pyshark.tshark.output_parser.tshark_ek import TsharkEkJsonParser

from collectors.sip.live.trouble import trouble
from collectors.sip.wireshark.dissection import EXPANDED, Dissection, dissection

PREFERENCES = {
    "tcp.reassemble_out_of_order": "TRUE",  # off by default: a segment that comes late would cost its message
    "tcp.try_heuristic_first": "TRUE",  # SIP on a port that another protocol owns
    "udp.try_heuristic_first": "TRUE",
}

NOT_DISSECTED = "sdp"
"""Bodies are read here. For each, tshark would await media on the ports that it names, in a list that grows with every call on
the same ports: 70,000 packets of such calls took it 47 s instead of 10."""

DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""PR_SET_PDEATHSIG (1), then the program; a parent that was gone before that is noticed (prctl(2))."""

END_S = 10
"""How long tshark may take to end once it has written its last line: it frees what it has kept of each packet."""


class Parser(TsharkEkJsonParser):  # type: ignore[misc]
    """pyshark's own makes objects of all fields, looked up in a mapping that it has tshark write into the user's cache."""

    def _parse_single_packet(self, packet: bytes) -> Dissection:
        return dissection(packet)


class Tshark(Capture):  # type: ignore[misc]
    """One run of tshark, over what `stdin` gives. `failure` is what it had to say when it ended badly."""

    def __init__(self, stdin: BinaryIO | int, decode_as: Sequence[str] = (), keylog: str = "") -> None:
        """To be made and used within one running event loop. `decode_as`: as tshark's `-d`, such as `tcp.port==5071,sip`.
        Raises SourceMisconfigured where there is no tshark."""
        program = shutil.which("tshark")
        if program is None:
            raise trouble("tshark_absent", "tshark is not installed")
        self.failure = ""
        self.started = asyncio.Event()
        self.process: Any = None
        self._program = program
        self._stdin = stdin
        self._folder = TemporaryDirectory(prefix="pegcount-tshark-")
        super().__init__(
            use_ek=True,
            include_raw=True,
            eventloop=asyncio.get_running_loop(),  # else it sets a child watcher for the whole process
            tshark_path=program,
            decode_as=dict(rule.split(",", 1) for rule in decode_as),
            disable_protocol=NOT_DISSECTED,
            override_prefs=PREFERENCES | ({"tls.keylog_file": keylog} if keylog else {}),
            custom_parameters=["-Q", "-J", EXPANDED, "-r", "-"],
        )

    async def _get_tshark_process(self, packet_count: int | None = None, stdin: Any = None) -> Any:
        command = [self._program, "-l", "-n", "-T", "ek", *self.get_parameters(packet_count)]
        home = self._folder.name
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())),
            *command,
            stdin=self._stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath, "HOME": home, "TMPDIR": home, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        self._create_stderr_handling_task(self.process.stderr)
        self._created_new_process(command, self.process)
        self.started.set()
        return self.process

    def _setup_tshark_output_parser(self) -> Parser:
        return Parser()

    def kill(self) -> None:
        """From any thread."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def _cleanup_subprocess(self, process: Any) -> None:
        """At the end of its output tshark is let end by itself, since how it ends says whether the input was whole."""
        if self._eof_reached:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), END_S)
        if process.returncode is None:
            self.kill()
            await process.stdout.read()  # asyncio takes a process for ended when its pipes are
            await process.wait()
        elif process.returncode:
            await asyncio.gather(*self._stderr_handling_tasks)
            line = self._last_error_line or f"it ended with status {process.returncode}"
            self.failure = line.removeprefix("tshark: ")
        self._running_processes.discard(process)
        self._folder.cleanup()
