"""What the commands at a receiver's store have in common: the option that names it, opening it, going through it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.cli.common import EX_IOERR, EX_TROUBLE
from uplink.receiver.answers import is_site
from uplink.receiver.storage import Document, Documents, StoreUnavailable

T = TypeVar("T")


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--store", required=True, metavar="PATH", help="The receiver's store: a file or a URL.")(
        command
    )


def at_store(store: str, action: Callable[[Documents], Awaitable[T]]) -> T:
    """What `action` gives at the store; ends with 74 where that cannot be used. A new file is told of: it may be a path that
    was mistyped."""

    async def run() -> T:
        from uplink.receiver.storage.opening import open_storage

        is_file = "://" not in store
        was_there = not is_file or Path(store).exists()
        opened = await open_storage(store)
        if not was_there:
            click.echo(f"pegcount platform: there was no store {store}: made a new one", err=True)
        try:
            return await action(opened)
        finally:
            await opened.close()

    try:
        return asyncio.run(run())
    except StoreUnavailable as error:
        click.echo(f"pegcount platform: {error}", err=True)
        sys.exit(EX_IOERR)


async def all_of(documents: Documents, kind: str) -> list[Document]:
    found: list[Document] = []
    while page := await documents.listed(kind, found[-1].key if found else ""):
        found += page
    return found


def check_done(done: object, otherwise: str) -> None:
    if not done:
        click.echo(f"pegcount platform: {otherwise}", err=True)
        sys.exit(EX_TROUBLE)


def day_of(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


def a_site(_context: click.Context, _param: click.Parameter, value: str) -> str:
    """The callback of options that name a site."""
    if value and not is_site(value):
        raise click.BadParameter("a site is 1 to 64 letters, digits, '.', '_' or '-'")
    return value
