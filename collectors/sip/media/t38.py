"""A fax over T.38 (UDPTL): pages, as the two machines confirm them (ITU-T T.38, T.30). Pure.

Laws
- A page counts when its sender says that it ends (MPS, EOM, EOP; with error correction PPS and one of them) and the receiver
  confirms it (MCF, RTP, PIP), and once only, however often either is said again: between two pages there is image data.
- What was lost is read from the redundancy of the next packets (T.38 annex/section 9.1: secondary IFP packets), each IFP
  packet once by its sequence number.
- Nothing raises; what cannot be read is skipped. What the pages show is not looked at.
"""

from collections.abc import Iterator

from msgspec import Struct

FRAME_MAX_BYTES = 264
"""T.30 annex A: the longest HDLC frame (of image data) has 256 octets and a head; V.21 frames are far shorter."""
RECOVER_MAX = 16
"""How many packets back redundancy is read; gateways send three."""

MPS, EOM, EOP, PPS = 0x72, 0x71, 0x74, 0x7D
MCF, RTP, PIP = 0x31, 0x33, 0x35
"""T.30 section 5.3.6: facsimile control fields, less the first bit, which tells who speaks; PPS is followed by one more, in
which 0 is the boundary of a part of a page."""
PAGE_ENDS, CONFIRMATIONS = frozenset((MPS, EOM, EOP)), frozenset((MCF, RTP, PIP))

V21 = 0
"""T.38 section 7.2.3, t30-data: the control channel; every other value carries an image or training."""
HDLC_DATA, HDLC_SIG_END, FCS_OK, FCS_BAD, FCS_OK_SIG_END, FCS_BAD_SIG_END, IMAGE, IMAGE_END = range(8)
"""T.38 section 7.3.1, field-type."""


class Side(Struct, array_like=True):
    """One direction: the next sequence number (-1: none yet), and the octets of a control frame that is not whole."""

    next: int = -1
    frame: bytes = b""
    image: bool = False
    """Image data since the last page was counted."""
    ended: bool = False
    """It said that a page ends, and awaits the confirmation."""
    pages: int = 0


class Fax(Struct, array_like=True):
    """Both directions, by who sends; `version` is the T38FaxVersion (0 has another form of data fields)."""

    caller: Side
    callee: Side
    version: int = 0


def take(fax: Fax, from_caller: bool, data: bytes) -> bool:
    """One UDPTL datagram; False where it is none."""
    if len(data) < 4:
        return False
    side, other = (fax.caller, fax.callee) if from_caller else (fax.callee, fax.caller)
    sequence = data[0] << 8 | data[1]
    found = _open_type(data, 2)
    if found is None:
        return False
    primary, at = found
    behind = RECOVER_MAX if side.next < 0 else sequence - side.next & 0xFFFF
    if behind >= 0x8000:
        return True  # seen before, or recovered
    for packet in reversed(_secondary(data, at)[: min(behind, RECOVER_MAX)]):
        _ifp(fax, side, other, packet)
    side.next = sequence + 1 & 0xFFFF
    _ifp(fax, side, other, primary)
    return True


def _open_type(data: bytes, at: int) -> tuple[bytes, int] | None:
    """An octet string with its length before it (X.691 section 10.9: one octet below 128, else two)."""
    if at >= len(data):
        return None
    length, at = data[at], at + 1
    if length & 0x80:
        if length & 0x40 or at >= len(data):
            return None  # longer than 16 K: in no datagram
        length, at = (length & 0x3F) << 8 | data[at], at + 1
    return (data[at : at + length], at + length) if at + length <= len(data) else None


def _secondary(data: bytes, at: int) -> list[bytes]:
    """The packets before this one, the latest first; none where the recovery is by parity (fec-info)."""
    if at + 2 > len(data) or data[at] & 0x80:
        return []
    packets: list[bytes] = []
    count, at = data[at + 1], at + 2
    while len(packets) < min(count, RECOVER_MAX) and (found := _open_type(data, at)) is not None:
        packet, at = found
        packets.append(packet)
    return packets


def _ifp(fax: Fax, side: Side, other: Side, packet: bytes) -> None:
    """An IFP packet: one bit that says whether data fields follow, one of the type, an enumeration (five bits)."""
    if not packet or packet[0] & 0xC0 != 0xC0:
        return  # an indicator: tones and training, no data
    if packet[0] & 0x3E != V21:
        side.image = side.image or len(packet) > 2
        return
    for kind, field in _fields(packet, fax.version):
        if kind == HDLC_DATA:
            side.frame = (side.frame + field)[:FRAME_MAX_BYTES]
        elif kind in (FCS_OK, FCS_OK_SIG_END):
            _control(side, other, side.frame + field)
            side.frame = b""
        else:
            side.frame = b""


def _fields(packet: bytes, version: int) -> Iterator[tuple[int, bytes]]:
    """The data fields. Version 0 knows eight types in three bits, a field without data half an octet; later ones put an
    extension bit between, and a field without data takes an octet whole."""
    if len(packet) < 2:
        return
    at, half = 2, False
    for _ in range(packet[1]):
        if at >= len(packet):
            return
        if version:
            present, kind, step = packet[at] & 0x80, packet[at] >> 3 & 7, 1
            if packet[at] & 0x40:
                return  # of V.34 faxes: no control frame of T.30 as above
        else:
            octet = packet[at] << 4 if half else packet[at]
            present, kind = octet & 0x80, octet >> 4 & 7
            step = 1 if half or present else 0
            half = not half and not present
        at += step
        field = b""
        if present:
            if at + 2 > len(packet):
                return
            length = (packet[at] << 8 | packet[at + 1]) + 1
            field, at = packet[at + 2 : at + 2 + length], at + 2 + length
        yield kind, field


def _control(side: Side, other: Side, frame: bytes) -> None:
    """A frame of T.30: address (all ones), control, the facsimile control field."""
    if len(frame) < 3 or frame[0] != 0xFF:
        return
    command = frame[2] & 0x7F
    if command == PPS:
        command = frame[3] & 0x7F if len(frame) > 3 else 0
    if command in PAGE_ENDS:
        side.ended = side.image
    elif command in CONFIRMATIONS and other.ended:
        other.ended = other.image = False
        other.pages += 1
