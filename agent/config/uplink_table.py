"""The `[uplink]` table's struct."""

import importlib
from typing import Any

from msgspec import Struct

Uplink: Any = getattr(importlib.import_module("uplink.destinations"), "Uplink", Struct)
