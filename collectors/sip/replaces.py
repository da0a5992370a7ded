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


class Wanted(Struct, frozen=True, gc=False):
    """What a REFER asks for: a call to `user`, in place of the dialog that `replaces` names. `code` is the feature that this
    uses, nothing where it asks for no call."""

    user: str
    code: bytes
    replaces: Replaces | None = None


def refer_target(value: bytes) -> Wanted:
    """Refer-To. The dialog to replace is escaped, as a header within the URI (RFC 3891 section 3); `method=BYE` sends somebody
    out of a conference (RFC 4579 section 5.11)."""
    uri, _, headers = read_address(value).uri.partition(b"?")
    name = user(uri) or text(uri)
    method = param(b";" + uri.partition(b";")[2], b"method")
    if method is not None and method.upper() != b"INVITE":
        return Wanted(name, b"")
    for header in headers.split(b"&"):
        field, _, told = header.partition(b"=")
        if field.lower() == b"replaces":
            return Wanted(name, b"transfer_attended", read_replaces(unquote_to_bytes(told)))
    return Wanted(name, b"transfer_blind")
