"""What the problem codes mean that agents tell: for the page that says so. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from uplink.problems import CATALOGUE


class Meaning(Struct, frozen=True):
    """`severity` is `notice`, `warning`, `error` or `critical`; `text` says what it is, `hint` what to do."""

    severity: str
    text: str
    hint: str


Meanings = Mapping[str, Meaning]
OF_UPLINK: Meanings = MappingProxyType(
    {code: Meaning(one.severity, one.text, one.hint) for code, one in CATALOGUE.items()}
)
"""Those that a receiver knows by itself; an agent's own come with the settings."""
