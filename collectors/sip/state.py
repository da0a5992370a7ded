"""What a tracker knows of calls in progress, as plain data that can be stored and read back.

Laws
- Times are microseconds on the packets' clock; 0 means not yet.
- Text from the wire stays bytes until it goes into a record.
"""

from typing import Literal

from msgspec import Struct, field

from collectors.records import Ending, FeatureUse
from collectors.sip.identity import Attestation
from collectors.sip.leg import HungUpBy, Side

TRYING, ANSWERED, ENDED = 0, 1, 2
"""Phases of a dialog. TRYING: no final answer yet."""


class Fork(Struct, array_like=True):
    """A further early dialog of one INVITE: another To tag on its provisional answers or on a second 2xx."""

    to_tag: bytes
    callee: str
    ringing_us: int
    answered_us: int = 0
    ended_us: int = 0


class Dialog(Struct, array_like=True):
    """One INVITE between two addresses and the dialog that came of it. `cseq` is the INVITE under way (`1 INVITE`),
    `established` the one that was answered first. `asked` are in-dialog requests whose answer matters, by their CSeq."""

    call: int
    serial: int
    call_id: bytes
    from_tag: bytes
    transport: str
    src: str
    dst: str
    side: Side
    cseq: bytes
    caller: str
    dialled: str
    callee: str
    user_agent: str
    started_us: int
    last_us: int
    first_cseq: bytes = b""
    phase: int = TRYING
    ringing_us: int = 0
    acked_us: int = 0
    answered_us: int = 0
    ended_us: int = 0
    cancelled_us: int = 0
    status: int = 0
    reason: str = ""
    to_tag: bytes = b""
    ending: Ending = "confirmed"
    hung_up_by: HungUpBy = ""
    retry: bool = False
    """Ended by an answer that asks for another INVITE (401, 407, 422, 3xx, ...)."""
    retired: bool = False
    """Its Call-ID has been taken by another call since."""
    expires_us: int = 0
    """Session-Expires as agreed (RFC 4028), as a span; 0 where no session timer runs."""
    clock_us: int = 0
    """By how much the clock was set while it was up."""
    held_by: str = ""
    """Which ends hold now: "", "r" (caller), "e" (callee) or both."""
    session: bytes = b""
    contact: str = ""
    """User part of the Contact of who answered."""
    forks: list[Fork] = []
    features: list[FeatureUse] = []
    asked: dict[bytes, bytes] = {}
    resent: int = 0
    """How often the INVITE under way was sent again, last at `resent_us`: over UDP it is until anything answers."""
    resent_us: int = 0
    cause: int = 0
    """The Q.850 cause that a Reason gave; 0 where none did."""
    private: bool = False
    """The caller asked to keep the number from the called party."""
    attestation: Attestation = ""
    partial: bool = False
    """It was up before the capture began."""
    addresses: tuple[bytes, bytes] = (b"", b"")
    """Where caller and callee first awaited media."""
    at_contact: bool = False
    """Its INVITE went to a contact that is registered: what answers is that phone."""
    recorded: int = 0
    """The call that this recording session records; 0 where it is none, or one of a call that is not known."""
    origin: str = ""
    """What makes its INVITE's session description recognisable (`origin.origin_of`)."""


class Refer(Struct, array_like=True):
    """A REFER or a 3xx that asked for a call: who was asked (place), whom to call, and for which call. `redirected`: whose leg
    it was that a 3xx sent on; empty for a REFER."""

    at_us: int
    place: str
    target: str
    call: int
    used: bool = False
    redirected: Side | Literal[""] = ""
    replaces: bytes = b""
    """The Call-ID that the INVITE asked for shall take over: only an INVITE that says so is meant."""


class Group(Struct, array_like=True):
    """One call: all dialogs that belong to it, in the order in which they began. `due_us` is when to look at it next;
    `emitted_us` when its legs were handed in: it is then kept to know retransmissions again. `rank` and `heard_us` are
    `room`'s: what it was, and when it was last heard of, when it was last looked at."""

    id: int
    started_us: int
    dialogs: list[Dialog] = []
    due_us: int = 0
    emitted_us: int = 0
    rank: int = 0
    heard_us: int = 0


class Transaction(Struct, array_like=True):
    """A request outside of calls that awaits its answer: what it said, as a record needs it."""

    at_us: int
    method: bytes
    data: bytes
    plain: bool = False
    """Whether `brief` could read it."""
    done: bool = False
    relayed: bool = False
    """A message that was passed on, and counted where it came from."""
    src: str = ""
    """Where it was first seen to come from."""
    status: int = 0
    """Its first final answer that was no success; a proxy may ask elsewhere then."""


class Binding(Struct, array_like=True):
    """A registered contact (RFC 3261 section 10). `instance`: what the device is known by beside the contact (+sip.instance and
    reg-id). `hour`: the UTC hour that has its record already; `ordinal` counts new bindings of the same contact within that
    hour. `also`: other URIs that calls may reach it by."""

    endpoint: str
    aor: str
    contact: str
    instance: str
    user_agent: str
    expires_us: int
    hour: int = 0
    ordinal: int = 0
    ended: bool = False
    device: str = ""
    device_id: str = ""
    also: tuple[str, ...] = ()


class Stay(Struct, array_like=True):
    """When an address of record was registered at a device; `ended_us` 0 while it is."""

    begun_us: int
    ended_us: int = 0


class Failure(Struct, array_like=True):
    """An account that is refused again and again: how often in a row, how much of that has been told, and whether it is or was
    lately registered by anybody."""

    endpoint: str
    count: int = 0
    told: int = 0
    last_us: int = 0
    known: bool = False


class Episode(Struct, array_like=True):
    """A risk that goes on: what of it has not been told yet."""

    code: str
    endpoint: str
    detail: str
    first_us: int = 0
    last_us: int = 0
    count: int = 0


class Tally(Struct, array_like=True):
    """How often something happened within a window that begins with its first time."""

    since_us: int = 0
    count: int = 0


class Origin(Struct, array_like=True):
    """What is doubtful about one address, each with its time: accounts that it fails with, numbers that it dialled in vain,
    targets that did not answer its OPTIONS, accounts that it was asked a password of and gave none; how often it was refused
    and could not be read, and what of that goes on."""

    failing: dict[str, Failure] = {}
    dialled: dict[str, int] = {}
    swept: dict[str, int] = {}
    unproved: dict[str, int] = {}
    guessed: Tally = field(default_factory=Tally)
    unreadable: Tally = field(default_factory=Tally)
    episodes: dict[str, Episode] = {}


class RisksState(Struct, array_like=True):
    """All that `risk.Risks` knows; `told` are the records of that `hour`."""

    origins: dict[str, Origin] = {}
    good: list[str] = []
    hour: int = 0
    told: int = 0
