"""A page's own files: style sheet, script and icon, read once.

Law: a file that is asked for with the tag of what it holds is kept for good by browsers; the tag changes whenever a file does.
"""

import hashlib
from functools import cached_property
from importlib import resources

from aiohttp import web

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_KEPT = "max-age=31536000, immutable"


class Assets:
    """Of `package`: its files, by name. Its style sheet stands behind the common one; the icon is common."""

    def __init__(self, package: str, style: str, script: str) -> None:
        self._package = package
        self._style = style
        self._names = {style: package, script: package, "icon.svg": __package__ or ""}

    @cached_property
    def _bodies(self) -> dict[str, bytes]:
        bodies = {name: _read(package, name) for name, package in self._names.items()}
        return bodies | {self._style: _read(__package__ or "", "common.css") + bodies[self._style]}

    @cached_property
    def tag(self) -> str:
        return hashlib.sha256(b"".join(self._bodies.values())).hexdigest()[:12]

    async def get(self, request: web.Request) -> web.Response:
        """The handler of a route with `{name}`."""
        name = request.match_info["name"]
        if name not in self._names:
            raise web.HTTPNotFound
        headers = {"Cache-Control": _KEPT if request.query_string == self.tag else "no-cache"}
        kind = _TYPES[name.rpartition(".")[2]]
        return web.Response(body=self._bodies[name], content_type=kind, charset="utf-8", headers=headers)


def _read(package: str, name: str) -> bytes:
    return (resources.files(package) / "assets" / name).read_bytes()
