"""A process that receives datagrams may be killed at any instant: what left the socket is in the journal."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from collectors.hep.decode import packet_length
from collectors.io.datagrams import SO_MEMINFO, kernel_drops
from collectors.io.journal import Journal

KILLS = 25
PAUSE_S = 0.0002
RECEIVER = """
import select, socket, sys, time
from pathlib import Path
from collectors.hep.decode import packet_length
from collectors.io.journal import Journal
source = socket.socket(fileno=int(sys.argv[1]))
source.setblocking(False)
journal = Journal(Path(sys.argv[2]), now_us=1, own_length=packet_length, segment_bytes=262144)
print("ready", flush=True)
while True:
    select.select([source], [], [])
    journal.receive(source, 64, time.time_ns() // 1000)
"""


def numbered(number: int) -> bytes:
    """Of every kind that can be recovered: HEP3 that tells its own length (and may end in zeros), and others."""
    text = b"%d " % number + bytes([65 + number % 26]) * (number * 131 % 2000)
    if number % 3 == 0:
        return text + b"."
    text += b"\0" * (number % 5)
    return b"HEP3" + (len(text) + 6).to_bytes(2, "big") + text


class Sender(threading.Thread):
    """Sends numbered datagrams until it is stopped, no faster than the receiver's buffer bears."""

    def __init__(self, receiver: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self.stop = False
        self._receiver = receiver
        self._room = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def run(self) -> None:
        target = self._receiver.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not self.stop:
                time.sleep(PAUSE_S)
                if self._waiting() > self._room:
                    continue
                for _ in range(8):
                    out.sendto(numbered(self.sent), target)
                    self.sent += 1

    def _waiting(self) -> int:
        """Bytes in the receive buffer (SO_MEMINFO's first word)."""
        word = self._receiver.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4)
        return int.from_bytes(word, sys.byteorder)


def kill_at_random(held: socket.socket, folder: Path, chance: random.Random) -> None:
    command = [sys.executable, "-c", RECEIVER, str(held.fileno()), str(folder)]
    with subprocess.Popen(command, pass_fds=[held.fileno()], stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(receiver.pid, signal.SIGKILL)


def test_nothing_that_left_the_socket_is_lost_by_killing_the_receiver(tmp_path: Path) -> None:
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.bind(("127.0.0.1", 0))
    held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    held.setblocking(False)
    sender = Sender(held)
    sender.start()
    chance = random.Random(20)
    for _ in range(KILLS):
        kill_at_random(held, tmp_path, chance)
    sender.stop = True
    sender.join()
    journal = Journal(tmp_path, now_us=1, own_length=packet_length, segment_bytes=262144)
    while journal.receive(held, 1000, 1):
        pass
    found = []
    while more := journal.read(1000):
        found += [datagram.data for datagram in more]
    assert kernel_drops(held) == 0, "the sender was too fast for this machine; the test says nothing"
    assert sender.sent > 1000
    assert found == [numbered(number) for number in range(sender.sent)]
