"""Uses of features that an accepted request outside of calls shows: MESSAGE, SUBSCRIBE, REFER. Pure.

Laws
- Only the first request of a subscription counts: those with a To tag refresh or end it (RFC 6665 section 4.1.2).
"""

from collections.abc import Iterator

from collectors.sip.address import uri_of, user
from collectors.sip.message import Message
from collectors.sip.replaces import refer_target
from collectors.sip.text_message import content_of, is_silent

PACKAGES = {
    b"presence": "presence",  # RFC 3856
    b"dialog": "presence",  # RFC 4235, which is what busy lamp fields subscribe to
    b"conference": "conference",  # RFC 4575: who takes part, told to one who does
    b"call-completion": "callback",  # RFC 6910: ring me when they are free again
}
"""Event packages (RFC 6665 section 7.2) and the feature that a subscription to them uses."""

FEATURE_EVENT = b"as-feature-event"
"""BroadWorks' and Cisco's own package: a phone's key switches a service of the phone system."""


def uses_of(request: Message) -> Iterator[tuple[str, str]]:
    """Code and endpoint of each use."""
    read = _BY_METHOD.get(request.method)
    if read is not None:
        yield from read(request)


def _message(request: Message) -> Iterator[tuple[str, str]]:
    if not is_silent(content_of(request)):
        yield "message", _sender(request)


def _subscribe(request: Message) -> Iterator[tuple[str, str]]:
    event = request.get(b"Event").partition(b";")[0].strip().lower()
    if event == FEATURE_EVENT:
        if b"<donotdisturbon>true" in request.body.lower().replace(b" ", b""):
            yield "do_not_disturb", _sender(request)
    elif event in PACKAGES and not request.ends()[2] and not _fetches(request):
        yield PACKAGES[event], _sender(request)


def _refer(request: Message) -> Iterator[tuple[str, str]]:
    """In no dialog: a transfer by somebody who names the dialog (RFC 4538), else an application that has a phone call."""
    wanted = refer_target(request.get(b"Refer-To"))
    if not wanted.code:
        return
    if b"Target-Dialog" in request.first:
        yield wanted.code.decode(), _sender(request)
    else:
        yield "click_to_dial", user(request.uri) or user(uri_of(request.get(b"To")))


_BY_METHOD = {b"MESSAGE": _message, b"SUBSCRIBE": _subscribe, b"REFER": _refer}


def _sender(request: Message) -> str:
    return user(request.ends()[0])


def _fetches(request: Message) -> bool:
    """RFC 6665 section 4.4.3: asked for once, not watched."""
    expires = request.get(b"Expires")
    return expires.isdigit() and int(expires[:12]) == 0
