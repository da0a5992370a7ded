"""What SIP messages themselves report of media: X-RTP-Stat in a BYE or its answer, vq-rtcpxr in a PUBLISH or NOTIFY. Pure."""

import re

from collectors.sip.media import rtp_stat, vq
from collectors.sip.media.desk import Desk
from collectors.sip.media.report import Report
from collectors.sip.state import Dialog

_STATISTICS = re.compile(rb"\r?\n(?:" + b"|".join(rtp_stat.HEADERS) + rb")[ \t]*:([^\r\n]*)", re.IGNORECASE)


def of_bye(desk: Desk, dialog: Dialog, by_caller: bool, at_us: int, data: bytes) -> None:
    """A BYE or an answer to one; who sent it tells of what it received and sent."""
    if not desk.knows(dialog.serial):
        return
    for value in _STATISTICS.findall(data, 0, data.find(b"\r\n\r\n") + 2):
        for report in rtp_stat.reports(value, at_us, dialog.call_id, desk.ends(dialog.serial, by_caller)):
            desk.report(report, dialog.serial)


def of_body(at_us: int, data: bytes) -> list[Report]:
    """The reports in the body of a PUBLISH (RFC 6035 section 4.1), or of a NOTIFY of the same event."""
    return vq.reports(data.partition(b"\r\n\r\n")[2], at_us)
