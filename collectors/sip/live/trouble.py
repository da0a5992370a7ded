"""Why a live capture cannot start or go on: one table of causes, each with a code of its own.

Laws
- A code is stable: status page, log, metrics and documentation name the same ones (docs/reference/problems.md).
- `trouble` makes the source's error of a code: one that mends itself is SourceUnavailable, one that a person must mend is
  SourceMisconfigured.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from collectors.contract import SourceError, SourceMisconfigured, SourceUnavailable


class Cause(Struct, frozen=True):
    """`title` names it in a few words, `meaning` says what it is, `hint` the next thing to try. `kind`: whether it mends
    itself."""

    kind: type[SourceError]
    title: str
    meaning: str
    hint: str


CAUSES: Mapping[str, Cause] = MappingProxyType(
    {
        "capture_no_capability": Cause(
            SourceMisconfigured,
            "Capturing is not permitted",
            "The process lacks CAP_NET_RAW, or something outside of it (a container, a profile of seccomp) forbids capturing.",
            "Run the capture as the service pegcount-capture, which has CAP_NET_RAW and nothing else; see operate.md.",
        ),
        "capture_no_interface": Cause(
            SourceUnavailable,
            "The interface does not exist",
            "This machine has no network interface of the configured name (now).",
            "Check `interface` against `ip link`; an interface that comes later is taken when it comes.",
        ),
        "capture_interface_down": Cause(
            SourceUnavailable,
            "The interface is down",
            "The network interface is there, but switched off: nothing arrives on it.",
            "Switch it on: ip link set INTERFACE up. Capturing goes on by itself.",
        ),
        "capture_unsupported": Cause(
            SourceMisconfigured,
            "The kernel offers no packet capture",
            "Sockets of AF_PACKET with a TPACKET_V3 ring (Linux 3.2) are not to be had: the kernel lacks them, or "
            "RestrictAddressFamilies= leaves AF_PACKET out.",
            'Leave RestrictAddressFamilies= of pegcount-capture.service as it was installed, or use engine = "dumpcap".',
        ),
        "capture_filter_refused": Cause(
            SourceMisconfigured,
            "The kernel refuses the packet filter",
            "The filter made of `ports`, `tunnels` and `media` was not accepted by the kernel.",
            "Give fewer or wider port ranges; if it stays, send the log to support.",
        ),
        "capture_no_memory": Cause(
            SourceUnavailable,
            "No memory for the capture's ring",
            "The kernel could not give the ring of memory that packets are received in.",
            "Free memory, or raise MemoryMax= of pegcount-capture.service.",
        ),
        "capture_socket_taken": Cause(
            SourceUnavailable,
            "Another process has the capture's socket",
            "A capture service answers already at `capture_socket`, or another agent is connected to it.",
            "Run one service and one agent for each source; give each source its own `capture_socket`.",
        ),
        "capture_socket_denied": Cause(
            SourceMisconfigured,
            "The capture's socket cannot be used",
            "The agent's user may not connect to `capture_socket`, or the service may not make it.",
            "Agent and service must share the group pegcount; see the unit pegcount-capture.service.",
        ),
        "capture_peer_refused": Cause(
            SourceMisconfigured,
            "The capture service does not serve this user",
            "The capture service hands frames to root and to the agent's user only.",
            "Run the agent as the user pegcount, or name its user: pegcount capture --agent-user NAME.",
        ),
        "capture_service_absent": Cause(
            SourceUnavailable,
            "The capture service is not there",
            "Nothing answers at `capture_socket`.",
            "systemctl enable --now pegcount-capture; what it says: journalctl -u pegcount-capture.",
        ),
        "capture_protocol": Cause(
            SourceMisconfigured,
            "The capture service speaks another version",
            "Agent and capture service are of different releases, or something else listens at `capture_socket`.",
            "Restart pegcount-capture, so that both are of the same release.",
        ),
        "capture_dumpcap_absent": Cause(
            SourceMisconfigured,
            "dumpcap is not installed",
            'engine = "dumpcap" (and "pyshark" on an interface) capture by Wireshark\'s dumpcap, which is not there.',
            "apt install wireshark-common (dumpcap) or tshark; or use the engine afpacket, which needs neither.",
        ),
        "capture_dumpcap_denied": Cause(
            SourceMisconfigured,
            "dumpcap may not be run",
            "dumpcap is there, but this user may not run it: Debian lets root and the group wireshark.",
            "adduser pegcount wireshark, after dpkg-reconfigure wireshark-common; then restart the agent.",
        ),
        "capture_dumpcap_bounded": Cause(
            SourceMisconfigured,
            "dumpcap cannot have its capabilities",
            "dumpcap's file carries CAP_NET_RAW and CAP_NET_ADMIN, and the agent's bounding set does not hold both: the kernel "
            "refuses to start it.",
            "Add both to CapabilityBoundingSet= of pegcount.service and clear NoNewPrivileges=, or use the engine afpacket.",
        ),
        "tshark_absent": Cause(
            SourceMisconfigured,
            "tshark is not installed",
            'engine = "pyshark" reads through Wireshark\'s tshark, which is not there.',
            "apt install tshark, or use another engine.",
        ),
        "capture_disk_full": Cause(
            SourceUnavailable,
            "No room for what is captured",
            "The disk that holds the ring of capture files is full.",
            "Make room, or lower `buffer_mb`. Capturing goes on by itself.",
        ),
        "capture_failed": Cause(
            SourceUnavailable,
            "Capturing failed",
            "The operating system gave an error that has no code of its own here; the text says which.",
            "It is tried again by itself; if it stays, send the log to support.",
        ),
    }
)


def trouble(code: str, message: str, hint: str = "") -> SourceError:
    """The error for `code`, with what is particular to this case in `message`."""
    cause = CAUSES[code]
    return cause.kind(message, hint or cause.hint, code)
