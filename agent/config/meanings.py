"""What every table and key of the configuration file means, in a sentence or two: the reference page is made of it.

A key of a struct that has no entry here, and an entry here that no struct has, fail a test.
"""

TABLES: dict[str, str] = {
    "site": "Who and where the site is. The only table that must be there.",
    "site.dialplan": (
        "How digits dialled at the site are to be read. Patterns are Asterisk's: `X` is a digit, `Z` 1 to 9, `N` 2 to 9, a "
        "trailing `.` one or more of anything, all else itself."
    ),
    "metering": "How minutes are billed and what a seat is.",
    "metering.levels": (
        "Feature levels, from the smallest to the largest; each holds what those before it hold. A seat's level of a day is "
        "the first that holds all the features that the seat used. A table each: `[[metering.levels]]`."
    ),
    "ledger": "Where records are kept, and how much.",
    "source": "What is listened to, a table each: `[[source]]`. Besides these two keys it has those of its kind, below.",
    "destination": (
        "Where micro-transactions go besides the platform, or instead of it, a table each: `[[destination]]`. Each has a place "
        "and a quarantine of its own. Besides these two keys it has those of its kind, below. Names of meters and subjects "
        "there stand in `[destination.names]`."
    ),
    "destination.names": "What things are called at the destination.",
    "uplink": "The platform that micro-transactions go to. Without this table they are kept and not sent.",
    "rates": (
        "The rate card: what the status page and `pegcount status` show as this month's estimate. Events know nothing of it."
    ),
    "rates.price": (
        "What a unit costs, a table each: `[[rates.price]]`. A use has the first price whose meter it is and whose conditions "
        "it fits (`class`, `country`, `level`, `feature`, `outcome`: lists, any of their values); uses of one price are pooled."
    ),
    "rates.price.tiers": (
        'Prices by quantity, from the first unit on: `[{ up_to = "1000", amount = "0.02" }, { amount = "0.01" }]`.'
    ),
    "web": "The status page.",
    "log": "What goes to stderr.",
    "policy": "What the platform may set at this site, in a policy of its own (operate.md). Files, commands, addresses and "
    "secrets never.",
}

KEYS: dict[str, str] = {
    "site.id": "The UUID that the platform knows the site by.",
    "site.provider": "The provider's short name; it stands in the site's URN, `urn:<provider>:site:<id>`.",
    "site.name": "The site's name as people say it; shown on the status page.",
    "site.timezone": "Time zone of the site (IANA name): its days and hours are meant wherever a day or an hour is counted.",
    "site.dialplan": "See the table below.",
    "site.dialplan.country": "Country of the site (ISO 3166): numbers without an international prefix are read as its own.",
    "site.dialplan.area": "Area code without the trunk prefix, such as `30`: completes a number dialled without one.",
    "site.dialplan.international_prefix": "What is dialled before a country code; the country's own unless given.",
    "site.dialplan.trunk_prefix": "What is dialled before an area code; the country's own unless given.",
    "site.dialplan.outside_line": "What is dialled for an outside line, such as `0` or `9`; taken off before a number is read.",
    "site.dialplan.extensions": "Patterns of the office's own extensions: what matches is a seat.",
    "site.dialplan.service": "Patterns of feature codes and services, such as `*97`.",
    "site.dialplan.on_net": "Patterns of numbers that are the provider's own, or another location's.",
    "metering.increment_s": "Minutes are billed in steps of so many seconds; started steps count whole.",
    "metering.minimum_s": "An answered call is billed at least so many seconds.",
    "metering.seat_when": "What makes a seat count for a day: that a device was registered, that it was active, or either.",
    "metering.levels": "See the table below.",
    "metering.numbers": (
        "Outside numbers as they leave the site: `full`, `masked` (the last digits hidden), or `none`. The ledger at the site "
        "keeps them in full."
    ),
    "metering.levels.name": "The level's name, unique.",
    "metering.levels.features": "Codes of the features it holds besides those of the levels before it (meters.md lists them).",
    "ledger.path": "The ledger's file. Its folder must be writable; the collectors' own files lie beside it.",
    "ledger.retention_days": "How long records are kept after the platform has them.",
    "ledger.max_size_mb": "At this size intake waits until there is room: nothing that was not acknowledged is dropped.",
    "ledger.max_rejects": "How many rejected lines and messages are kept; older ones are counted only.",
    "source.name": "The source's name, unique in the file: its records are kept under it, so do not change it later.",
    "source.kind": "What kind of source it is: one of the headings below.",
    "source.asterisk_cdr.path": "`Master.csv`, as cdr_csv writes it. The per-account files beside it hold the same again.",
    "source.asterisk_cdr.timezone": (
        "Time zone of the times in it. `auto` finds it in the records where cdr.conf has `loguniqueid=yes`, and takes the "
        "site's otherwise."
    ),
    "source.asterisk_cdr.trunks": "Endpoints that are lines outside (`carrier` of `PJSIP/carrier-00000001`); `*` allowed.",
    "source.asterisk_cdr.settle_s": "How long after its last record a call is taken for whole; what comes later corrects it.",
    "source.asterisk_cdr.poll_s": "How often to look for new lines.",
    "source.sip.path": "The capture file (pcap or pcapng). It is read once, to its end. Either this or `interface`.",
    "source.sip.interface": "The network interface to capture on, such as `eth0`; `any` for all of them.",
    "source.sip.engine": (
        "What captures: `afpacket`, the service pegcount-capture; `dumpcap`, Wireshark's own; `pyshark`, dumpcap and "
        "tshark. With `pyshark` a file is read through tshark too, for what Wireshark dissects and this program does not."
    ),
    "source.sip.ring": (
        "With `dumpcap` and `pyshark`: through a ring of files on the disk, `buffer_mb` in all, which outlives the agent; "
        "`false`: through a pipe, which leaves nothing on the disk."
    ),
    "source.sip.restart_packets": "With `pyshark` on an interface: after how many packets tshark is replaced; it forgets none.",
    "source.sip.keylog": "The TLS key log (NSS format) of the calls in `path`, for tshark.",
    "source.sip.decode_as": "What tshark is to decode as what (its `-d`), such as `tcp.port==5071,sip`.",
    "source.sip.ports": (
        "Ports and ranges where SIP is spoken over TCP or SCTP. SIP over UDP is told by its looks, on whatever port; of UDP "
        "on these ports all is taken, keep-alives too."
    ),
    "source.sip.tunnels": "Carriers whose frames are taken whole and looked into.",
    "source.sip.media": (
        "What of the calls' media is read: nothing, the reports of their ends (`rtcp`), or the head of every packet as well "
        "(`rtp`: octets, loss, jitter, MOS, key presses, pages of T.38)."
    ),
    "source.sip.media_ports": (
        "UDP ports and ranges that are taken whatever they hold: T.38, which has no looks of its own. RTP and RTCP need none."
    ),
    "source.sip.capture_socket": "The Unix socket where the capture service is met.",
    "source.sip.buffer_mb": "How much the capture service keeps for an agent that is away or behind.",
    "source.sip.pbx": "Addresses (`ip` or `ip:port`) of one phone system that speaks from several of them.",
    "source.sip.trunks": 'Names of trunks, each with its address: `{ carrier = "198.51.100.7" }`.',
    "source.sip.services": 'Numbers that a feature answers: `{ 300 = "auto_attendant" }`.',
    "source.sip.devices": (
        'Patterns of User-Agents and what kind of device they are: `{ "MyPhone*" = "desk_phone" }`. They go before the '
        "built-in table; `*` stands for anything."
    ),
    "source.sip.calls": "How many calls are followed at once; beyond, the oldest is handed in as it stands.",
    "source.syslog.listen": "Address and port to listen on: UDP, or with `tcp://` before it; or a list of them.",
    "source.syslog.senders": "Addresses and networks that are listened to; needed as soon as an address is not loopback.",
    "source.syslog.journal_limit_mb": "How much disk the messages may take that wait for the ledger.",
    "source.syslog.calls": "How many calls are followed at once; beyond, the oldest is handed in as it stands.",
    "source.syslog.pbx": "Addresses (`ip` or `ip:port`) of one phone system that speaks from several of them.",
    "source.syslog.trunks": 'Names of trunks, each with its address: `{ carrier = "198.51.100.7" }`.',
    "source.syslog.services": 'Numbers that a feature answers: `{ 300 = "auto_attendant" }`.',
    "source.syslog.devices": (
        'Patterns of User-Agents and what kind of device they are: `{ "MyPhone*" = "desk_phone" }`. They go before the '
        "built-in table; `*` stands for anything."
    ),
    "source.hep.listen": "Address and port to listen on: UDP, or with `tcp://` or `tls://` before it; or a list of them.",
    "source.hep.password": "What chunk 14 of every packet must hold; needed as soon as an address is not loopback.",
    "source.hep.tls_certificate": "PEM file with our certificate and its chain, for `tls://`.",
    "source.hep.tls_key": "PEM file with its key; without where the certificate's file holds it.",
    "source.hep.tls_client_ca": "PEM file with the authorities whose client certificates are asked for; without, none are.",
    "source.hep.journal_limit_mb": "How much disk the datagrams may take that wait for the ledger.",
    "source.hep.media": "Whether reports of media, as `rtcp`, go into the calls, or not, as `off`.",
    "source.hep.calls": "How many calls are followed at once; beyond, the oldest is handed in as it stands.",
    "source.hep.pbx": "Addresses (`ip` or `ip:port`) of one phone system that speaks from several of them.",
    "source.hep.trunks": 'Names of trunks, each with its address: `{ carrier = "198.51.100.7" }`.',
    "source.hep.services": 'Numbers that a feature answers: `{ 300 = "auto_attendant" }`.',
    "source.hep.devices": (
        'Patterns of User-Agents and what kind of device they are: `{ "MyPhone*" = "desk_phone" }`. They go before the '
        "built-in table; `*` stands for anything."
    ),
    "uplink.kind": "What kind of platform it is.",
    "uplink.url": "The platform's address; `https` unless it is this machine, or `allow_http` is set.",
    "uplink.auth": (
        "How this machine shows who it is: by the `key` that it is enrolled with, by the `token`, or by its `certificate`. "
        "`auto` takes the token where there is one, else the key, else the certificate."
    ),
    "uplink.token": "The bearer token, where the machine is not enrolled. Better in a file of its own: `token_file`.",
    "uplink.token_file": "A file whose first line is the token. Read again when it is another one; never shown.",
    "uplink.interval_s": "Seconds from one upload to the next.",
    "uplink.cron": "Five fields as in crontab(5) (0 and 7 are Sunday), in the site's time zone, instead of `interval_s`.",
    "uplink.stream": "Besides, upload within a second of whatever is new. Regular uploads then are heartbeats, mostly.",
    "uplink.window": (
        "Hours of the site's time in which events are sent, such as `22:00-06:00`; heartbeats still are outside them, and "
        "`pegcount upload` does not ask."
    ),
    "uplink.jitter_s": "Each upload starts up to so much later, each site at its own place: a fleet does not call at once.",
    "uplink.timeout_s": "How long an upload may take.",
    "uplink.max_events": "Events in one upload at most.",
    "uplink.max_bytes": "Bytes in one upload at most, before compression.",
    "uplink.proxy": "Address of an HTTP proxy.",
    "uplink.max_kbit_s": "The most that uploads may take of the line, in kilobits a second; 0 for all of it.",
    "uplink.allow_http": "Permit `http` to another machine: anybody on the way can read the token.",
    "uplink.proxy_auth_file": "A file whose first line is `user:password` for the proxy.",
    "uplink.ca_file": "Authorities (PEM) that may vouch for the platform's certificate, instead of this machine's.",
    "uplink.pin": "SHA-256 of the one certificate that is trusted, instead of any authority: 64 hexadecimal digits.",
    "uplink.certificate": "This machine's own certificate (PEM), for platforms that ask for one. A renewed one is taken up.",
    "uplink.key_file": "The private key of `certificate`.",
    "destination.name": "Name of the destination, unique in this file; how far it is stands under it.",
    "destination.kind": "What it is.",
    "destination.url": "Its address, without the API's path.",
    "destination.names": "See the table above.",
    "destination.start": "Whether a new destination begins with the oldest event that the ledger holds, or with the next one.",
    "destination.token": "The key of its API. Better in a file of its own: `token_file`.",
    "destination.token_file": "A file whose first line is the key. Read at the start; never shown.",
    "destination.openmeter.api": "The version of its API.",
    "destination.stripe.url": "Stripe's address; another one is for tests.",
    "destination.stripe.api": "How events go: one by one, or by the stream, which is quicker and tells its refusals elsewhere.",
    "destination.stripe.stream_url": "The stream's address.",
    "destination.cgrates.user": "Where its HTTP server asks for one: the user. The password is `token` or `token_file`.",
    "destination.cgrates.tenant": "The tenant of the CDRs; CGRateS's own default unless given.",
    "destination.cgrates.request_type": "Of the CDRs, such as `*postpaid` or `*rated`; CGRateS's own default unless given.",
    "destination.webhook.url": "The whole address that events are posted to.",
    "destination.webhook.max_events": "Events in one request; with 1 each is posted by itself, not as a batch.",
    "destination.webhook.validate": "Whether the receiver is asked first if it takes events from `origin`.",
    "destination.webhook.origin": "A DNS name that stands for this sender, sent with each request.",
    "destination.webhook.signing_secret_file": "A file whose first line is a secret (`whsec_...`) to sign requests with.",
    "destination.files.folder": "Where the files are put. It must be there, and the service must be let in: `ReadWritePaths=`.",
    "destination.files.form": "What the files are: CSV for people and spreadsheets, a CloudEvent on each line, or Parquet.",
    "destination.files.compressed": "Whether files are compressed: by gzip, or Parquet in itself (Zstandard).",
    "destination.files.max_events": "Events in one file at most.",
    "destination.sftp.host": "The server's name or address.",
    "destination.sftp.port": "Its port.",
    "destination.sftp.user": "Who logs in there.",
    "destination.sftp.key_file": "The user's private key (OpenSSH or PEM, without a passphrase); or else `password_file`.",
    "destination.sftp.password_file": "A file whose first line is the user's password.",
    "destination.sftp.known_hosts": "A file of host keys as OpenSSH writes it (`ssh-keyscan`), or else `host_keys`.",
    "destination.sftp.host_keys": "Fingerprints (`SHA256:...`) of the keys that the server may show.",
    "destination.sftp.folder": "Where the files are put there. It must be there.",
    "destination.sftp.form": "What the files are: CSV for people and spreadsheets, a CloudEvent on each line, or Parquet.",
    "destination.sftp.compressed": "Whether files are compressed: by gzip, or Parquet in itself (Zstandard).",
    "destination.sftp.max_events": "Events in one file at most.",
    "destination.sftp.timeout_s": "How long each answer of the server may take.",
    "destination.nats.url": "A server, or several with commas between; `tls://` for TLS.",
    "destination.nats.stream_name": "The stream that takes the events. It must be there.",
    "destination.nats.subject": "A template for subjects; `{site}`, `{meter}`, `{subject}` and `{id}` stand for themselves.",
    "destination.nats.timeout_s": "How long the acknowledgements of one request may take.",
    "destination.nats.user": "A user, whose password is in `password_file`.",
    "destination.nats.password_file": "A file whose first line is the password of `user`.",
    "destination.nats.token_file": "A file whose first line is a token.",
    "destination.nats.creds_file": "A credentials file (`.creds`): a JWT and the seed that proves it.",
    "destination.nats.nkey_file": "A file whose first line is the seed of a user's nkey (`SU...`).",
    "destination.kafka.brokers": "Host and port of a broker, or of several with commas between.",
    "destination.kafka.topic": "The topic. It must be there.",
    "destination.kafka.key": "What a message's key is, and so which events stay in order.",
    "destination.kafka.timeout_s": "How long the delivery of one request may take.",
    "destination.kafka.user": "A user for SASL, whose password is in `password_file`.",
    "destination.kafka.password_file": "A file whose first line is the SASL user's password.",
    "destination.kafka.mechanism": "How the password is shown (SASL).",
    "destination.kafka.tls": "Whether brokers are reached by TLS.",
    "destination.names.meters": 'Meters and their names there: `{ "voice.minutes" = "minutes" }`; an empty name is not sent.',
    "destination.names.unlisted": "Whether other meters are sent, under their own names. `risk.*` only where listed.",
    "destination.names.subjects": 'Seats and their names there: `{ 101 = "cus_8h2" }`.',
    "destination.names.subject": "Name of all other subjects there; `{subject}` and `{site}` stand for themselves.",
    "rates.currency": "Its currency (ISO 4217).",
    "rates.version": "The provider's own name of the card.",
    "rates.price": "See the table below.",
    "rates.price.meter": "The meter.",
    "rates.price.unit": "Its unit, as meters.md has it: a price for another unit is refused.",
    "rates.price.amount": "The price of one unit. Either this or `tiers`.",
    "rates.price.tiers_mode": (
        "With `tiers`: `graduated`, each unit at the price of the tier that it lies in; `volume`, all units at that of the "
        "tier that the whole quantity reaches."
    ),
    "rates.price.tiers": "See the table below.",
    "rates.price.included": "Units of a month that are free; tiers begin behind them.",
    "rates.price.class": "Classes of calls that it is for.",
    "rates.price.country": "Countries (ISO 3166) of international calls that it is for.",
    "rates.price.level": "Levels of seats that it is for.",
    "rates.price.feature": "Features that it is for.",
    "rates.price.outcome": "Outcomes of calls that it is for.",
    "rates.price.tiers.amount": "The price of one unit in this tier.",
    "rates.price.tiers.up_to": "The last quantity that is in it; the last tier has none.",
    "web.enabled": "Whether there is a status page. `pegcount upload` needs it.",
    "web.listen": "Address and port. What other machines reach is refused without `allow_remote`: the page has no login.",
    "web.allow_remote": "Permit an address that other machines reach. Put a proxy that asks for a password in front.",
    "web.hosts": "Names, besides `localhost` and IP addresses, that the page may be asked by.",
    "policy.allow": (
        "Tables that a policy may have: `schedule` (when uploads are made), `metering` (increments, minimum, levels), `seats` "
        "(what makes a seat, patterns of extensions), `rates` (the rate card), `privacy` (`metering.numbers`). A policy with "
        "any other is refused as a "
        "whole; `[]` refuses all."
    ),
    "log.level": "The least that is logged.",
    "log.format": "Text for people, or one JSON object a line.",
}


def meaning(table: str, key: str) -> str:
    """What a key means; destinations share many of theirs, with each other and with the uplink. Raises KeyError."""
    places = [table, "destination", "uplink"] if table.startswith("destination.") else [table]
    for place in places:
        if found := KEYS.get(f"{place}.{key}"):
            return found
    raise KeyError(f"{table}.{key}")
