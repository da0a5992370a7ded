"""Replaces and Refer-To: which dialog a request takes over, and whom a transfer is to reach (RFC 3891, RFC 3515)."""

from urllib.parse import unquote_to_bytes

from msgspec import Struct

from collectors.sip.address import param, read_address, short, text, user


class Replaces(Struct, frozen=True, gc=False):
    call_id: bytes
    to_tag: bytes
    from_tag: bytes


def read_replaces(value: bytes) -> Replaces | None:
    call_id, _, rest = value.partition(b";")
    if not call_id.strip():
        return None
    params = b";" + rest
    to_tag, from_tag = param(params, b"to-tag") or b"", param(params, b"from-tag") or b""
    return Replaces(short(call_id.strip()), short(to_tag), short(from_tag))


def refer_target(value: bytes) -> tuple[str, Replaces | None]:
    """The user that Refer-To names, and the dialog that the call to it shall replace (section 3 of RFC 3891: escaped, as
    a header within the URI)."""
    uri, _, headers = read_address(value).uri.partition(b"?")
    for header in headers.split(b"&"):
        name, _, told = header.partition(b"=")
        if name.lower() == b"replaces":
            return user(uri) or text(uri), read_replaces(unquote_to_bytes(told))
    return user(uri) or text(uri), None
