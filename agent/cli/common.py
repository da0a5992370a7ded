"""What several commands share: the `--config` option, loading with findings, exit statuses (sysexits.h where there is one)."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from agent.config import DEFAULT_PATH, Config, ConfigError, Finding, load

EX_OK = 0
EX_TROUBLE = 1
EX_NOT_RUNNING = 3
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_IOERR = 74
EX_CONFIG = 78


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config",
        "config_path",
        metavar="FILE",
        default=DEFAULT_PATH,
        show_default=True,
        envvar="PEGCOUNT_CONFIG",
        help="The configuration file (also PEGCOUNT_CONFIG).",
    )(command)


def loaded(path: str) -> Config:
    """The configuration; where it is wrong, all findings go to stderr and the program ends with status 78."""
    try:
        config = load(Path(path))
    except ConfigError as error:
        tell(error.findings)
        sys.exit(EX_CONFIG)
    tell(config.warnings)
    return config


def tell(findings: Iterable[Finding]) -> None:
    for finding in findings:
        click.echo(str(finding), err=True)


def in_words(error: Exception) -> str:
    """An error of the operating system as its words, with the file where it names one; any other as it is."""
    if not isinstance(error, OSError) or not error.errno or error.errno < 0:
        return str(error)
    words = os.strerror(error.errno)
    return f"{error.filename}: {words}" if error.filename else words


def printable(text: str) -> str:
    """Text from a phone system, safe on a terminal: control characters are shown, not obeyed."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
