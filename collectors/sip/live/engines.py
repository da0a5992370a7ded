"""Which engines can capture: the configuration's `engine`, and how each is opened. Each is a file of its own, loaded only
where it is asked for.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from collectors.contract import Context
from collectors.sip.live.ports import parse_ports
from collectors.sip.live.source import PacketSource

if TYPE_CHECKING:
    from collectors.sip.kind import SipConfig


def _afpacket(config: "SipConfig", context: Context) -> PacketSource:
    from collectors.sip.live.client import CaptureClient

    return CaptureClient(config.capture_socket)


def _dumpcap(config: "SipConfig", context: Context) -> PacketSource:
    from collectors.sip.live.pcap_filter import pcap_filter
    from collectors.sip.live.ring import DumpcapSource

    def expression(tagged: bool) -> str:
        ports, media_ports = parse_ports(config.ports), parse_ports(config.media_ports)
        return pcap_filter(ports, config.tunnels, config.media, media_ports, tagged)

    return DumpcapSource(context.folder, config.interface, expression, config.buffer_mb if config.ring else 0)


def _pyshark(config: "SipConfig", context: Context) -> PacketSource:
    from collectors.sip.live.dissected import DissectedSource

    return DissectedSource(_dumpcap(config, context), config.decode_as, config.restart_packets)


ENGINES: Mapping[str, Callable[["SipConfig", Context], PacketSource]] = MappingProxyType(
    {"afpacket": _afpacket, "dumpcap": _dumpcap, "pyshark": _pyshark}
)
