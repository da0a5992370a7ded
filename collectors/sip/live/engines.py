"""Which engines can capture: the configuration's `engine`, and how each is opened. Each is a file of its own, loaded only
where it is asked for.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from collectors.contract import Context
from collectors.sip.live.source import PacketSource

if TYPE_CHECKING:
    from collectors.sip.kind import SipConfig


def _afpacket(config: "SipConfig", context: Context) -> PacketSource:
    from collectors.sip.live.client import CaptureClient

    return CaptureClient(config.capture_socket)


ENGINES: Mapping[str, Callable[["SipConfig", Context], PacketSource]] = MappingProxyType({"afpacket": _afpacket})
