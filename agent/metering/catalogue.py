"""The catalogue: the names of meters, features and call classes that pegcount knows, each with its meaning.

The tables are the one place of these names; docs/reference/meters.md is written from them, and a test holds every name that
code or configuration uses against them.
"""

METERS: dict[str, tuple[str, str]] = {
    "call": ("call", "one call, however many legs, forks or sources saw it"),
    "voice.minutes": ("min", "minutes of an answered call, in the configured increment and minimum"),
    "seat.day": ("seat-day", "a seat and local day, with its level"),
    "feature.use": ("use", "use of a feature by a seat"),
    "message": ("message", "a text message that was sent, with its segments where the source shows them"),
    "media.gb": ("GB", "media of a call, both ways: octets of RTP payload (UDPTL for T.38), 1 GB = 10^9 octets"),
    "fax.pages": ("page", "pages of a fax that the far machine confirmed, and whether by T.38"),
}
"""meter -> (unit, meaning)"""

UNITS: dict[str, str] = {meter: unit for meter, (unit, _) in METERS.items()} | {
    "seat.month": "seat-month",
    "storage.gb_hours": "GB.h",
    "channel.hours": "channel-hour",
    "conference.minutes": "min",
    "queue.agent_hours": "agent-hour",
    "number.day": "number-day",
    "app.use": "use",
    "download": "download",
    "purchase": "item",
    "subscription.day": "day",
}
"""Every meter of the contract and its unit: what can have a price. A seat-month is worked out of the seat-days; of the others
that METERS lacks this version makes no events."""

FEATURES: dict[str, str] = {
    "ata": "an adapter for analogue phones was registered for the seat that day",
    "auto_attendant": "a menu answered the call",
    "call_forward_busy": "forwarded because the called seat was busy",
    "call_forward_no_answer": "forwarded because nobody answered in time",
    "call_forward_unconditional": "forwarded at once",
    "call_waiting": "a call rang at a seat that was in another",
    "callback": "asked to be rung when a busy seat is free again",
    "caller_id_override": "the caller showed another number than the seat's own",
    "click_to_dial": "the call was started by an application",
    "conference": "took part in a conference bridge or three-way call",
    "directory": "dialled by name",
    "do_not_disturb": "the seat refused calls by its own wish",
    "encrypted_call": "media or signalling was encrypted (SRTP, TLS)",
    "fax": "sent or received a fax",
    "find_me_follow_me": "rung one after the other at several places",
    "hold": "a call was put on hold",
    "hot_desk": "the seat registered that day at a device that another seat had used",
    "intercom": "the called phone answered by itself",
    "message": "a SIP MESSAGE was sent",
    "mobile_app": "an app of a mobile phone was registered for the seat that day",
    "music_on_hold": "who was put on hold heard music from a server",
    "paging": "announced to a group of phones",
    "park": "a call was parked or fetched from where it was parked",
    "pickup": "answered a call that rang elsewhere",
    "presence": "watched the state of other seats",
    "queue": "a call waited in a queue",
    "recording": "a call was recorded",
    "ring_group": "a group number rang several seats",
    "simultaneous_ring": "one seat's number rang at several devices",
    "softphone": "a program was registered as a phone for the seat that day",
    "time_condition": "opening hours or holidays sent the call elsewhere",
    "transfer_attended": "a call was handed on after asking",
    "transfer_blind": "a call was handed on without asking",
    "video": "a call had video",
    "voicemail_deposit": "a caller left a message in a voicemail box",
    "voicemail_retrieve": "a voicemail box was listened to",
}

DAILY = frozenset(("softphone", "mobile_app", "ata", "hot_desk"))
"""Features of a registration: one use for each seat and local day, however often the device is registered in it."""

RISK_UNIT = "occurrence"
RISKS: dict[str, str] = {
    "risk.invite_scanning": "Numbers are dialled in vain by an address that nobody knows",
    "risk.malformed_flood": "An address sends messages that cannot be read",
    "risk.options_sweep": "An address looks for devices that answer",
    "risk.register_failing": "A device is set up with a wrong account or password",
    "risk.register_guessing": "Accounts or passwords are guessed",
    "risk.scanner": "A known scanner asks",
}
"""What a technician should look at: an event each, of the meter that the risk is called by. Never billed."""

CLASSES: dict[str, str] = {
    "internal": "extension to extension in one office",
    "on_net": "to another location or a number that is the provider's own",
    "local": "outward, within the site's own area",
    "national": "outward, within the country",
    "mobile": "outward, to a mobile number of the country",
    "international": "outward, to another country",
    "toll_free": "outward, free for the caller",
    "premium": "outward, at a premium or shared-cost rate",
    "emergency": "an emergency number",
    "inbound": "from outside to the site",
    "service": "voicemail box, echo test, feature code",
}
