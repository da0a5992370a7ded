"""Channel names and dial strings: whose device they name.

A channel is called `TECH/name-unique` (`PJSIP/101-0000002a`, `DAHDI/i1/5551234-3`, `Local/101@office-00000001;2`); a Dial
application's devices are `TECH/device[&TECH/device...],seconds,options` (Asterisk's documentation of Dial).
"""

from functools import lru_cache

BARE = frozenset({"PJSIP", "SIP", "IAX2", "SCCP", "SKINNY", "UNISTIM", "MGCP", "H323", "OOH323", "MOTIF", "WEBSOCKET"})
"""Technologies whose device names stand for themselves. Others (DAHDI/1, Console/dsp) keep the technology, since `1` alone
could be anybody."""

WRAPPED = frozenset({"AsyncGoto/", "Parked/", "Bridge/", "Transfered/", "Surrogate/", "Masq/"})
"""Prefixes of a channel that stands in for another one while a call is moved (main/channel.c, main/bridge.c)."""

NAMES_CACHED = 4096
"""Dial strings of a large office's extensions; those with outside numbers push each other out."""


def endpoint(channel: str) -> str:
    """`PJSIP/101-00000001` -> `101`; nothing for a Local channel, which is nobody's device. (Not cached: channel names come
    once or twice and never again.)"""
    tech, slash, rest = channel.partition("/")
    if tech in BARE and rest[-1:] != ">":
        return rest.rpartition("-")[0] or rest
    if not slash or tech == "Local":
        return ""
    if f"{tech}/" in WRAPPED:
        return endpoint(rest)
    if rest.endswith("<ZOMBIE>"):
        return endpoint(channel.removesuffix("<ZOMBIE>"))
    name = rest.rpartition("-")[0] or rest
    return name if tech.upper() in BARE else f"{tech}/{name}"


@lru_cache(NAMES_CACHED)
def rung(dial_data: str) -> tuple[str, ...]:
    """The endpoints in the data of a Dial, in their order: `PJSIP/101&PJSIP/102,20,tT` -> `101`, `102`."""
    devices = dial_data.partition(",")[0].partition("|")[0]
    names = (_device(device) for device in devices.split("&"))
    return tuple(dict.fromkeys(name for name in names if name))


def _device(text: str) -> str:
    """`PJSIP/+1212@carrier` and `SIP/carrier/+1212` name the trunk, `PJSIP/101/sip:101@10.0.0.9` the phone,
    `IAX2/user:secret@peer/101` the peer. A DAHDI group (`DAHDI/g0/...`) is no endpoint."""
    tech, slash, rest = text.strip().partition("/")
    if not slash or tech.upper() not in BARE:
        return ""
    first = rest.partition("/")[0]
    return first.rpartition("@")[2].partition(":")[0]


def local_name(channel: str) -> str:
    """What both halves of a Local channel have in common; nothing for other channels."""
    return channel.rpartition(";")[0] if channel.startswith("Local/") else ""
