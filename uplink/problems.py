"""What can be wrong between a site and its platform: one table of codes, each with what a technician should do.

Laws
- A code is stable: status page, log, metrics and documentation (docs/reference/wire.md) name the same ones.
- `error` needs a person, `warning` mends itself, `critical` means that numbers are in doubt. None means that anything
  was dropped: whatever the problem, the ledger keeps what is not acknowledged.
"""

from typing import Literal

from msgspec import Struct

Severity = Literal["warning", "error", "critical"]


class Problem(Struct, frozen=True):
    """`text` is a sentence for the status page, `hint` the next thing to try."""

    code: str
    severity: Severity
    text: str
    hint: str


_TABLE: tuple[tuple[str, Severity, str, str], ...] = (
    (
        "dns",
        "error",
        "The platform's name cannot be resolved.",
        "Check the site's DNS server and the host in its `url`.",
    ),
    (
        "unreachable",
        "error",
        "There is no route to the platform.",
        "Check the site's internet connection and gateway.",
    ),
    (
        "refused",
        "error",
        "The platform's port refuses connections.",
        "Check host and port in its `url`, and firewalls.",
    ),
    (
        "tls",
        "error",
        "The platform's certificate is not accepted.",
        "Check the clock of this machine, its CA certificates, and whether a firewall opens TLS on the way.",
    ),
    (
        "timeout",
        "warning",
        "The platform did not answer in time.",
        "Mends itself. If it stays: its `timeout_s` and the line.",
    ),
    (
        "reset",
        "warning",
        "The connection broke before the answer was whole.",
        "Mends itself. If it stays: firewall or proxy.",
    ),
    (
        "transport",
        "error",
        "The request could not be sent as HTTP.",
        "Check its `url`, and proxies on the way.",
    ),
    (
        "unauthorized",
        "error",
        "The platform does not know this token or key (401).",
        "Check its `token` or `token_file`; of an enrolled machine: enrol it again.",
    ),
    (
        "forbidden",
        "error",
        "The token is not allowed to report for this site (403).",
        "Check the site's id, or ask the platform.",
    ),
    (
        "revoked",
        "error",
        "The platform takes this machine's key or certificate no longer (403).",
        "Enrol it again with a new token: pegcount enrol; or have another certificate made. The ledger is kept, and goes on "
        "where it was.",
    ),
    (
        "replayed",
        "warning",
        "The platform had this very request before.",
        "Mends itself. If it stays: something on the way sends requests twice.",
    ),
    (
        "receipt_invalid",
        "critical",
        "The platform's receipt is missing or not signed by its key.",
        "Nothing is taken for acknowledged. If the platform lost its key and has another one, enrol with the same token "
        "again; else find out who answers there.",
    ),
    (
        "not_found",
        "error",
        "There is no pegcount platform at this address (404).",
        "Check the path in its `url`.",
    ),
    (
        "gone",
        "error",
        "The destination says that it is no longer there (410).",
        "Ask its operator where events go now. It is asked once a day; everything is kept.",
    ),
    (
        "proxy_auth",
        "error",
        "A proxy on the way asks for a password (407).",
        "Put `user:password` into the file that proxy_auth_file names, or let the proxy pass the platform's host.",
    ),
    (
        "proxy_refused",
        "error",
        "The proxy does not let the platform's host pass.",
        "Let the proxy pass the platform's host and port (CONNECT), or check the address in `proxy`.",
    ),
    (
        "captive_portal",
        "error",
        "A web page answered instead of the platform.",
        "A portal or firewall intercepts: let the platform's host pass, or sign in to the portal.",
    ),
    (
        "redirected",
        "error",
        "The platform's address sends elsewhere, which is not followed.",
        "Put the final https address into its `url`; if it is right, a portal intercepts.",
    ),
    (
        "throttled",
        "warning",
        "The platform asks to slow down (429).",
        "Mends itself.",
    ),
    (
        "unavailable",
        "warning",
        "The platform is not available at the moment (503).",
        "Mends itself.",
    ),
    (
        "server_error",
        "warning",
        "The platform failed (5xx).",
        "Mends itself. If it stays, tell the platform's operator.",
    ),
    (
        "answer_unusable",
        "error",
        "The answer is none of the contract's.",
        "Check that its `url` is a pegcount receiver of version 1; a proxy may change answers.",
    ),
    (
        "damaged_in_transit",
        "error",
        "The platform received other bytes than were sent.",
        "Something on the way changes bodies: let the platform's host pass unaltered.",
    ),
    (
        "batch_refused",
        "error",
        "The platform refuses every batch, even an empty one.",
        "Compare versions of agent and platform; a web application firewall may refuse the requests.",
    ),
    (
        "no_progress",
        "warning",
        "The platform answers, but acknowledges nothing new.",
        "Tell the platform's operator.",
    ),
    (
        "conflict",
        "critical",
        "The platform holds other events under the same numbers.",
        "This machine is a clone or was restored from a snapshot. A new epoch was begun; stop the other "
        "machine if there is one.",
    ),
    (
        "history_lost",
        "critical",
        "The platform asks for events that this site has pruned.",
        "The platform lost data. Restore it there; what is not acknowledged is kept here meanwhile.",
    ),
    (
        "loss_stated",
        "critical",
        "The platform went back behind events that this site has pruned; the site stated that they are lost.",
        "Both go on behind them. Where the platform has a newer copy of its store, restore that: nothing is lost then.",
    ),
    (
        "clock_wrong",
        "error",
        "This machine's clock is not the platform's.",
        "Check time synchronisation (timedatectl). Times are stored and sent as the clock shows them; nothing is corrected.",
    ),
    (
        "credentials",
        "error",
        "What the destination needs cannot be read: a file of secrets, an enrolment, or a package.",
        "Read the detail and mend it. Counting goes on, everything is kept, and it is tried again every few seconds.",
    ),
    (
        "events_refused",
        "error",
        "The platform refused some events; they are in quarantine.",
        "See the quarantine for each reason.",
    ),
    (
        "everything_refused",
        "error",
        "The destination refuses one event after the other.",
        "Check the destination's settings, above all its names of meters and subjects. What was refused is in quarantine.",
    ),
    (
        "destination_misconfigured",
        "error",
        "The destination cannot be used as it is configured.",
        "Read the detail, mend the settings of the destination, and restart.",
    ),
    (
        "destination_full",
        "error",
        "The destination has no room left.",
        "Make room there, or raise its limit. Everything is kept here meanwhile.",
    ),
    (
        "folder_unusable",
        "error",
        "The destination's folder cannot be used.",
        "Read the detail. Check that the folder is there (mounted), its owner, and `ReadWritePaths=` of the service.",
    ),
    (
        "host_key",
        "error",
        "The server shows a host key that is not known; nothing was said to it.",
        "Ask its operator whether it has a new key, and only then put that into `known_hosts` or `host_keys`. "
        "If it has none, find out who answers there.",
    ),
    (
        "ledger_damaged",
        "critical",
        "Stored events do not match their chain; they are not sent.",
        "Check the disk, keep the ledger file, and ask for support.",
    ),
)

CATALOGUE = {code: Problem(code, severity, text, hint) for code, severity, text, hint in _TABLE}
