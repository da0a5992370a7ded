"""The configuration file: one TOML text, checked as a whole before anything is opened.

`load(path)` gives a `Config` or raises `ConfigError` with findings, each with file, line, column, and what to do.
"""

from agent.config.findings import ConfigError, Finding
from agent.config.loading import load
from agent.config.semantics import is_loopback, split_listen
from agent.config.tables import Config, Ledger, Log, Source, Web

DEFAULT_PATH = "/etc/pegcount/pegcount.toml"

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "ConfigError",
    "Finding",
    "Ledger",
    "Log",
    "Source",
    "Web",
    "is_loopback",
    "load",
    "split_listen",
]
