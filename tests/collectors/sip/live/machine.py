"""The kernel's classic BPF machine, written out: https://www.kernel.org/doc/Documentation/networking/filter.txt.

Not the builder's code read backwards: it knows every instruction that tcpdump makes as well.
"""

import operator
from collections.abc import Iterable

Instruction = tuple[int, int, int, int]
MASK = 0xFFFFFFFF
NETWORK_LAYER = 0xFFF00000
ARITHMETIC = {
    0x00: operator.add,
    0x10: operator.sub,
    0x50: operator.and_,
    0x40: operator.or_,
    0x60: operator.lshift,
    0x70: operator.rshift,
}


def run(program: Iterable[Instruction], packet: bytes, *, protocol: int = 0, kind: int = 0, hardware: int = 1) -> int:
    """How many octets of the packet are kept; 0: rejected. `packet` begins at its network layer for a program that looks from
    there on, else at its link layer. `protocol`, `kind` and `hardware` are what the kernel knows."""
    code = list(program)
    ancillary = {0xFFFFF000: protocol, 0xFFFFF004: kind, 0xFFFFF01C: hardware}
    a = x = at = 0
    memory = [0] * 16

    def load(offset: int, size: int) -> int | None:
        if offset in ancillary:
            return ancillary[offset]
        if offset >= NETWORK_LAYER:
            offset -= NETWORK_LAYER
        return int.from_bytes(packet[offset : offset + size], "big") if offset + size <= len(packet) else None

    while True:
        op, jt, jf, k = code[at]
        at += 1
        family, size = op & 7, {0: 4, 8: 2, 16: 1}[op & 0x18] if op & 7 in (0, 1) else 4
        if op == 0xB1:  # ldx 4*([k]&0xf)
            value = load(k, 1)
            if value is None:
                return 0
            x = (value & 15) * 4
        elif family in (0, 1):
            mode = op & 0xE0
            if mode in (0x20, 0x40):
                value = load(k if mode == 0x20 else x + k, size)
            else:
                value = {0x00: k, 0x60: memory[k & 15], 0x80: len(packet)}[mode]
            if value is None:
                return 0
            a, x = (value, x) if family == 0 else (a, value)
        elif family in (2, 3):
            memory[k] = a if family == 2 else x
        elif family == 4:
            other = x if op & 8 else k
            a = ARITHMETIC[op & 0xF0](a, other) & MASK
        elif op == 0x05:
            at += k
        elif family == 5:
            other = x if op & 8 else k
            true = {0x10: a == other, 0x20: a > other, 0x30: a >= other, 0x40: bool(a & other)}[op & 0xF0]
            at += jt if true else jf
        elif op == 0x06:
            return k
        elif op == 0x16:
            return a
        else:
            a, x = (a, a) if op == 0x07 else (x, x)
