"""What a tracker keeps at most, and for how long. Each bound has its reason beside it.

Laws
- Nothing is dropped silently: each bound has a counter that tells how often it was met.
- A call that a bound ends is handed in with what is known of it (`ending="assumed"`), never thrown away.
- All spans are measured on the packets' clock.
"""

from collectors.net.bounds import Bounds


class Limits(Bounds, frozen=True, kw_only=True):
    calls: int = 20_000
    """Calls followed at once. A site of 1,000 seats has a few hundred; a scanner's unanswered INVITEs fill the rest."""

    legs_per_call: int = 64
    """A ring group of 50 phones fits; a forwarding loop does not."""

    transactions_bytes: int = 33_554_432
    """What those requests hold meanwhile: they are kept whole until they are answered. 20,000 of the usual 600 octets come to
    12 MB; it is for those of 64 kB each."""

    transactions: int = 20_000
    """REGISTER, MESSAGE and SUBSCRIBE requests that await their answer."""

    bindings: int = 50_000
    """Registered contacts followed at once."""

    risk_origins: int = 4_096
    """Addresses whose doubtful requests are remembered, and as many that were found to be good. Beyond, the one that was
    heard of longest ago goes, so that a flood from invented addresses takes some 10 MB at most."""

    risks_per_hour: int = 200
    """Risk records in one hour of packet time: more than a technician reads; a flood from a million addresses would be a
    million records otherwise."""

    message_bytes: int = 131_072
    """The largest SIP message of a stream: a body of 64 kB, as gateways and conference servers send, and as much for its
    header. Over UDP a datagram is the end."""

    rejects: int = 1_000
    """Rejects kept between two drains; more are only counted."""

    transaction_ms: int = 32_000
    """64*T1 (RFC 3261 section 17.1.1.2, timers B and F): how long any answer may take after a request was last sent, or
    the INVITE that a REFER asks for, and how long a call that has ended is still recognised in a retransmission."""

    retry_ms: int = 60_000
    """How long another INVITE may take after an answer that asks for one (401, 407, 3xx): in some phones somebody types the
    password first."""

    settle_ms: int = 2_000
    """How long a call whose dialogs have all ended is kept for what may still come of it."""

    setup_silence_ms: int = 200_000
    """Silence after which an INVITE without a final answer is given up: a little more than timer C (RFC 3261 section
    16.6), which is over three minutes."""

    talk_silence_ms: int = 14_400_000
    """Silence after which an answered call is given up where no session timer runs: four hours, as VoIPmonitor does."""

    media_flows: int = 16_384
    """Flows of RTP counted at once: four for each of 4,096 calls up, which no one machine switches."""

    media_places: int = 100_000
    """Places (address and port) where media is awaited: RTP and RTCP of both ends of 20,000 calls, and some."""

    media_silence_ms: int = 300_000
    """Silence of all media of a call, after which its BYE was lost: five minutes, as VoIPmonitor's `rtptimeout`. The call ends
    with its last packet however long this is, so that waiting costs nothing; phones that send nothing while nobody speaks
    (RFC 3389, G.729 annex B) still send some noise within minutes."""

    session_grace_ms: int = 60_000
    """Beyond a session's agreed Session-Expires (RFC 4028 section 10: a BYE is due before it)."""
