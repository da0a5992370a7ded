"""What the platform may set at a site: a policy, in TOML, laid over the local file. Pure.

Laws
- A policy has the tables and keys of KEYS and no others: numbers, hours, patterns. No key of it names a file, a command, an
  address or a secret.
- The local file has the last word: a table that its `[policy] allow` does not name refuses the whole policy.
- Local file and policy together are checked as one file is; what is wrong is told with the policy's own line and column.
- All of a policy is taken or none of it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from msgspec import structs

from agent.config import loading
from agent.config.findings import ConfigError, Fault, Finding
from agent.config.tables import Config
from agent.config.validation import unknown_key, wrong_value
from collectors.contract import Kind

TEXT_MAX_BYTES = 65_536
"""A hundred levels and a thousand patterns; the local file may have a megabyte."""
FILE = FilePath("policy")
"""What findings call it."""

KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "schedule": {key: ("uplink", key) for key in ("interval_s", "cron", "stream", "window", "jitter_s", "max_kbit_s")},
    "metering": {key: ("metering", key) for key in ("increment_s", "minimum_s", "levels")},
    "privacy": {"numbers": ("metering", "numbers")},
    "seats": {"seat_when": ("metering", "seat_when"), "extensions": ("site", "dialplan", "extensions")},
    "rates": {key: ("rates", key) for key in ("currency", "version", "price")},
}
"""Table -> key -> where it goes in the configuration."""
_PLACES = {place: (table, key) for table, keys in KEYS.items() for key, place in keys.items()}


def governed(config: Config, policy: str, kinds: Mapping[str, Kind] | None = None) -> Config:
    """The site's configuration under this policy. Raises ConfigError, whose findings are about the policy."""
    if len(policy.encode()) > TEXT_MAX_BYTES:
        raise ConfigError([Finding(file=str(FILE), line=0, column=0, path="", message="is larger than 64 KiB")])
    told = loading.tree_of(policy, FILE)
    found = list(_own_faults(told, config))
    if found:
        raise ConfigError(loading.placed(found, policy, FILE))
    result = loading.checked(_laid_over(loading.tree_of(config.text, config.path), told), config.path, kinds)
    if isinstance(result, list):
        raise ConfigError(loading.placed([_in_policy(fault) for fault in result], policy, FILE))
    keys = tuple(f"{table}.{key}" for table, keys in told.items() for key in keys)
    return structs.replace(result, text=config.text, warnings=config.warnings, governed=keys)


ANY_SITE = """
site = { id = "00000000-0000-0000-0000-000000000000", provider = "any" }
uplink = { url = "https://platform.example.net", token = "any" }
policy = { allow = ["schedule", "metering", "privacy", "seats", "rates"] }
"""
"""A site that lets everything be set, and sets nothing itself."""


def check(policy: str) -> None:
    """What can be said of a policy without a site: what a site that allows it all would say. Raises ConfigError."""
    governed(loading.parse(ANY_SITE, FILE, {}), policy, {})


def _own_faults(told: Mapping[str, Any], config: Config) -> Iterator[Fault]:
    yield from _key_faults(told)
    for table in told:
        if table in KEYS and table not in config.policy.allow:
            yield Fault(path=(table,), message=f"the site does not let the platform set `[{table}]`", at="key")
    if "schedule" in told and config.uplink is None:
        yield Fault(path=("schedule",), message="the site has no `[uplink]`", at="key")


def _key_faults(told: Mapping[str, Any]) -> Iterator[Fault]:
    for table, keys in told.items():
        if table not in KEYS:
            yield unknown_key((table,), KEYS)
        elif not isinstance(keys, dict):
            yield wrong_value((table,), f"a table, `[{table}]`", keys)
        else:
            yield from (unknown_key((table, key), KEYS[table]) for key in keys if key not in KEYS[table])


def _laid_over(local: dict[str, Any], told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A policy that says `interval_s` and no `cron` means the interval: a local `cron` would go before it. A rate card takes
    the place of a local one as a whole."""
    if "rates" in told:
        local["rates"] = {}
    if "interval_s" in told.get("schedule", {}):
        _put(local, ("uplink", "cron"), "")
    for table, keys in told.items():
        for key, value in keys.items():
            _put(local, KEYS[table][key], value)
    return local


def _put(tree: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for part in place[:-1]:
        tree = tree.setdefault(part, {})
    tree[place[-1]] = value


def _in_policy(fault: Fault) -> Fault:
    """The same, where the policy has it."""
    for place, own in _PLACES.items():
        if fault.path[: len(place)] == place:
            return structs.replace(fault, path=(*own, *fault.path[len(place) :]))
    return structs.replace(fault, path=())
