"""What a configuration must hold to beyond its types. Each check yields faults; none touches the network.

Errors are what can never work (a time zone that does not exist); warnings are what does not work now (a folder that is
not there) or hardly is what was meant (a level that no seat can reach).
"""

import ipaddress
import zoneinfo
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path as FilePath
from stat import S_ISDIR

import phonenumbers
from msgspec import Struct, structs

from agent.config.findings import Fault, Path, dotted
from agent.config.rate_card import rate_faults
from agent.config.tables import Config, Destination, Ledger, Source
from agent.config.wording import near_miss
from agent.metering.catalogue import FEATURES
from uplink.cron import parse as parse_cron
from uplink.destinations import PegcountSettings
from uplink.destinations.folder import FolderSettings
from uplink.identity import ENROLMENT, identity_folder
from uplink.window import parse as parse_window

SOURCE_NAME_IS = "a source's records are kept under its name, so each needs its own"
DESTINATION_NAME_IS = "how far a destination is stands under its name, so each needs its own"
FILE_KEYS = (
    *("path", "file", "token_file", "ca_file", "certificate", "key_file", "proxy_auth_file", "keylog"),
    *("tls_certificate", "tls_key", "tls_client_ca", "signing_secret_file"),
    "password_file",
)
"""Keys of a source or of the uplink that name a file whose folder should be there."""

SHARED = (
    ("path", "read"),
    ("interface", "capture on"),
    ("listen", "listen at"),
    ("capture_socket", "take frames from"),
)
"""Keys of a source by which two sources would have one input, and what they would both do with it."""
TWICE = ("path", "interface")


def semantic_faults(config: Config) -> Iterator[Fault]:
    """Every fault of a configuration whose types are right."""
    yield from _timezone(config.site.timezone, ("site", "timezone"))
    yield from _country(config)
    yield from _levels(config)
    yield from _web(config)
    if config.ledger.path != Ledger().path:  # the package makes the default's folder
        yield from _folder(config.ledger.path, ("ledger", "path"))
    yield from _unique_names("source", [one.name for one in config.sources], SOURCE_NAME_IS)
    yield from _shared_inputs(config.sources)
    for index, source in enumerate(config.sources):
        yield from _struct_values(source.config, ("source", index))
    if config.uplink is not None:
        yield from _struct_values(config.uplink, ("uplink",))
        yield from _speaker(config.uplink, config.ledger)
        yield from _cron(config.uplink.cron, config.site.timezone, ("uplink", "cron"))
        yield from _window(config.uplink.window, ("uplink", "window"))
    yield from _unique_names("destination", [one.name for one in config.destinations], DESTINATION_NAME_IS)
    yield from _shared_folders(config.destinations)
    for index, destination in enumerate(config.destinations):
        path: Path = ("destination", index)
        yield from _struct_values(destination.settings, path)
        yield from _cron(destination.settings.cron, config.site.timezone, (*path, "cron"))
        yield from _window(destination.settings.window, (*path, "window"))
    if config.rates is not None:
        yield from rate_faults(config.rates, [level.name for level in config.metering.levels])
    if not config.sources:
        yield Fault(
            path=(), severity="warning", message="there is no `[[source]]`: nothing will be heard", hint="add one"
        )


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def timezone_fault(name: str) -> str:
    """What is wrong with a time zone's name, in words; empty where nothing is."""
    if name in _zones():
        return ""
    hint = near_miss(name, _zones()) or "use a name of the IANA time zone database, such as `Europe/Berlin`"
    return f'there is no time zone "{name}": {hint}'


def _timezone(name: str, path: Path) -> Iterator[Fault]:
    message, _, hint = timezone_fault(name).partition(": ")
    if message:
        yield Fault(path=path, message=f"`{dotted(path)}`: {message}", hint=hint)


def _country(config: Config) -> Iterator[Fault]:
    country = config.site.dialplan.country
    if country not in phonenumbers.SUPPORTED_REGIONS:
        yield Fault(
            path=("site", "dialplan", "country"),
            message=f'`site.dialplan.country`: the numbering plan library knows no country "{country}"',
            hint="use the two letters of ISO 3166, such as `DE` or `GB`",
        )


def _levels(config: Config) -> Iterator[Fault]:
    levels = config.metering.levels
    names = Counter(level.name for level in levels)
    for index, level in enumerate(levels):
        path: Path = ("metering", "levels", index)
        if not level.name:
            yield Fault(path=(*path, "name"), message=f"`{dotted((*path, 'name'))}` must not be empty")
        elif names[level.name] > 1:
            yield Fault(path=(*path, "name"), message=f"more than one level is named `{level.name}`")
        for place, feature in enumerate(level.features):
            yield from _feature(feature, (*path, "features", place))
        yield from _unreachable(config, index)


def _feature(code: str, path: Path) -> Iterator[Fault]:
    if code not in FEATURES:
        hint = near_miss(code, FEATURES) or "docs/reference/meters.md lists all features"
        yield Fault(path=path, message=f"unknown feature `{code}`", hint=hint)


def _speaker(uplink: PegcountSettings, ledger: Ledger) -> Iterator[Fault]:
    """Whether there is anything by which the platform knows this machine, and one thing only."""
    enrolled = _is_enrolled(ledger)
    message = ""
    if uplink.auth == "key" and enrolled is False:
        message, hint = 'auth is "key", and this machine is not enrolled', "pegcount enrol URL --token-file FILE"
    elif uplink.auth == "auto" and not uplink.has_token and not uplink.certificate and enrolled is False:
        message, hint = "has no token, and this machine is not enrolled", "pegcount enrol URL --token-file FILE"
    elif uplink.auth == "auto" and uplink.has_token and enrolled:
        message, hint = "has a token, which goes before the key of the enrolment", 'take it out, and say auth = "key"'
    if message:
        yield Fault(path=("uplink",), severity="warning", message=f"`[uplink]` {message}", hint=hint, at="key")


def _is_enrolled(ledger: Ledger) -> bool | None:
    """None of another user's folder: nothing can be said."""
    try:
        (identity_folder(ledger.path) / ENROLMENT).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return True


def _services(services: dict[str, str], path: Path) -> Iterator[Fault]:
    """Numbers that a feature answers: number -> feature."""
    for number, feature in services.items():
        yield from _feature(feature, (*path, number))


def _unreachable(config: Config, index: int) -> Iterator[Fault]:
    """A level holds what those before it hold, and a seat-day gets the first that holds all it used: a level that adds
    nothing is never the first."""
    held = {feature for earlier in config.metering.levels[:index] for feature in earlier.features}
    here = config.metering.levels[index]
    if index and set(here.features) <= held:
        yield Fault(
            path=("metering", "levels", index),
            at="key",
            severity="warning",
            message=f"no seat can reach the level `{here.name}`: the levels before it have all its features",
            hint="list levels from the smallest to the largest",
        )


def _web(config: Config) -> Iterator[Fault]:
    path: Path = ("web", "listen")
    try:
        host, _ = split_listen(config.web.listen)
    except ValueError as error:
        yield Fault(path=path, message=f"`web.listen`: {error}", hint="write it like `127.0.0.1:8042`")
        return
    if not is_loopback(host) and not config.web.allow_remote:
        yield Fault(
            path=path,
            message=f"`web.listen`: `{host}` can be reached from other machines, and the page has no login",
            hint="listen on 127.0.0.1 and reach it through ssh -L, or set `allow_remote = true` behind a guarded proxy",
        )


def split_listen(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8042` or `[::1]:8042` -> host, port. Raises ValueError with a sentence."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'"{listen}" has no port from 0 to 65535')
    host = host.removeprefix("[").removesuffix("]")
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f'"{host}" is no IP address') from None
    return host, int(port)


def is_loopback(host: str) -> bool:
    """True for `localhost` and for addresses that only this machine reaches."""
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def _unique_names(table: str, names: Sequence[str], hint: str) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(name, index)
        if first != index:
            yield Fault(
                path=(table, index, "name"),
                message=f"two {table}s are named `{name}` (the other is {table} {first + 1})",
                hint=hint,
            )


def _shared_inputs(sources: tuple[Source, ...]) -> Iterator[Fault]:
    """A source's calls are known under its name, so a file that two sources read, or an interface that two capture, is
    counted twice; and one port has one listener, one capture service one agent."""
    seen: dict[tuple[str, str], int] = {}
    for index, source in enumerate(sources):
        for key, what in SHARED:
            if key == "capture_socket" and not _has_capture_service(source.config):
                continue
            named = getattr(source.config, key, "")
            for value in [named] if isinstance(named, str) else named:
                first = seen.setdefault((key, value.removeprefix("udp://")), index) if value else index
                if sources[first].name != source.name:
                    yield Fault(
                        path=("source", index, key),
                        message=f"two sources {what} {value} (the other is source {first + 1}, `{sources[first].name}`)",
                        hint="its calls would be counted twice" if key in TWICE else "only one of them could",
                    )


def _shared_folders(destinations: tuple[Destination, ...]) -> Iterator[Fault]:
    """What a folder holds already is not put there again, so of two destinations one would lack what the other was sent."""
    seen: dict[tuple[str, str], str] = {}
    for index, one in enumerate(destinations):
        if isinstance(one.settings, FolderSettings):
            own = one.settings
            first = seen.setdefault((own.where(), own.form), one.name)
            if first != one.name:
                yield Fault(
                    path=("destination", index, "folder"),
                    message=f"two destinations put {own.form} into {own.where()} (the other is `{first}`)",
                    hint="give each a folder of its own",
                )


def _has_capture_service(config: Struct) -> bool:
    return bool(getattr(config, "interface", "")) and getattr(config, "engine", "") == "afpacket"


def _struct_values(config: Struct, path: Path) -> Iterator[Fault]:
    """Time zones, features and files that a source or the uplink names."""
    for field in structs.fields(config):
        value = getattr(config, field.name)
        if field.encode_name == "services" and isinstance(value, dict):
            yield from _services(value, (*path, "services"))
        elif not isinstance(value, str):
            continue
        elif field.encode_name == "path" and bool(value) == bool(getattr(config, "interface", "")):
            yield _file_or_interface((*path, "path"), bool(value), hasattr(config, "interface"))
        elif not value:
            continue
        elif field.encode_name == "timezone" and value != "auto" and value[0] not in "+-":
            yield from _timezone(value, (*path, "timezone"))
        elif field.encode_name in FILE_KEYS:
            yield from _folder(value, (*path, field.encode_name))


def _file_or_interface(path: Path, both: bool, either: bool) -> Fault:
    """A source that reads a file names it; one that can capture as well names one of the two."""
    key = f"`{dotted(path)}`"
    if both:
        message, hint = f"{key} and `interface` exclude each other", "read a file or capture live: a source each"
    else:
        message, hint = f"{key} is empty: it must name a file", "or set `interface` to capture live" if either else ""
    return Fault(path=path, message=message, hint=hint, at="key")


def _window(text: str, path: Path) -> Iterator[Fault]:
    try:
        if text:
            parse_window(text, "UTC")
    except ValueError:
        yield Fault(
            path=path,
            message=f'`{dotted(path)}`: "{text}" is no pair of times of day',
            hint="from when to when, in the site's time; such as `22:00-06:00`",
        )


def _cron(cron: str, timezone: str, path: Path) -> Iterator[Fault]:
    if not cron or timezone not in _zones():
        return
    try:
        parse_cron(cron, timezone)
    except ValueError as error:
        yield Fault(
            path=path,
            message=f'`{dotted(path)}`: "{cron}" is no cron expression: {error}',
            hint="five fields: minute, hour, day, month, weekday; such as `*/15 * * * *`",
        )


def _folder(file: str, path: Path) -> Iterator[Fault]:
    """Warnings only: a folder may come later, and another user may be let in where this one is not."""
    folder = FilePath(file).parent
    try:
        why = "" if S_ISDIR(folder.stat().st_mode) else "is no folder"
    except FileNotFoundError:
        why = "is not there"
    except OSError as error:
        why = f"cannot be looked into: {error.strerror}"
    if why:
        yield Fault(
            path=path,
            severity="warning",
            message=f"`{dotted(path)}`: the folder `{folder}` {why}",
            hint="make it, mend the path, or let the agent's user in",
        )
