"""A table of the file against its struct: every fault that can be found, not only the first.

msgspec stops at the first fault, so each key is converted on its own; the whole is converted when every key is right.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Struct, inspect, structs

from agent.config.findings import Fault, Path, dotted
from agent.config.wording import describe, near_miss, shown

SECRET_WORDS = ("token", "password", "secret", "key")
"""A key with one of these words in its name has its value kept out of messages."""


def faults(value: Any, kind: Any, path: Path) -> Iterator[Fault]:
    """Everything wrong with `value` as a `kind` (any type that msgspec knows), at `path`."""
    info = inspect.type_info(kind)
    struct = _struct_of(info, value)
    item = info.item_type if isinstance(info, (inspect.VarTupleType, inspect.ListType)) else None
    if struct is not None and isinstance(value, dict):
        yield from _table_faults(value, struct, path)
    elif isinstance(item, inspect.StructType) and isinstance(value, list):
        for index, one in enumerate(value):
            yield from faults(one, item.cls, (*path, index))
    elif isinstance(value, list) and isinstance(info, (inspect.VarTupleType, inspect.ListType)):
        item_kind = get_args(kind)[0]
        found = [fault for index, one in enumerate(value) for fault in faults(one, item_kind, (*path, index))]
        yield from found or _value_faults(value, kind, path)
    else:
        yield from _value_faults(value, kind, path)


def _struct_of(info: inspect.Type, value: Any) -> type[Struct] | None:
    """The struct that a table is to be: the type itself, or that member of a union whose tag the table names."""
    members = info.types if isinstance(info, inspect.UnionType) else (info,)
    found = [one for one in members if isinstance(one, inspect.StructType)]
    if len(found) > 1 and isinstance(value, dict):
        found = [one for one in found if one.tag_field and value.get(one.tag_field) == one.tag]
    return found[0].cls if len(found) == 1 else None


def _table_faults(table: Mapping[str, Any], struct: type[Struct], path: Path) -> Iterator[Fault]:
    fields = {field.encode_name: field for field in structs.fields(struct)}
    known = {*fields, *filter(None, [struct.__struct_config__.tag_field])}
    found = [unknown_key((*path, key), known) for key in table if key not in known]
    for name, field in fields.items():
        if name in table:
            found += faults(table[name], field.type, (*path, name))
        elif field.required:
            found.append(missing_key((*path, name), describe(field.type)))
    yield from found or _whole_faults(table, struct, path)


def _whole_faults(table: Mapping[str, Any], struct: type[Struct], path: Path) -> Iterator[Fault]:
    """What only the whole struct can say (its `__post_init__`); a message that begins with a key is about that key."""
    try:
        msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        message = str(error).partition(" - at `")[0]
        first = message.partition(" ")[0]
        if first in table:
            yield Fault(path=(*path, first), message=f"`{dotted(path)}`: {message}")
        else:
            yield Fault(path=path, message=f"`{dotted(path)}`: {message}", at="key")


def _value_faults(value: Any, kind: Any, path: Path) -> Iterator[Fault]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        yield wrong_value(path, describe(kind), value, hint=_nearest_choice(value, kind))


def _nearest_choice(value: Any, kind: Any) -> str:
    info = inspect.type_info(kind)
    return (
        near_miss(value, map(str, info.values))
        if isinstance(info, inspect.LiteralType) and isinstance(value, str)
        else ""
    )


def unknown_key(path: Path, known: Any) -> Fault:
    name = str(path[-1])
    hint = near_miss(name, known) or "known here: " + ", ".join(f"`{key}`" for key in sorted(known))
    table = dotted(path[:-1])
    where = f" in `{table}`" if table else ""
    return Fault(path=path, message=f"unknown key `{name}`{where}", hint=hint, at="key")


def missing_key(path: Path, expected: str) -> Fault:
    return Fault(path=path, message=f"`{dotted(path)}` is missing: it must be {expected}", at="key")


def wrong_value(path: Path, expected: str, value: Any, hint: str = "") -> Fault:
    name = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    secret = any(word in name for word in SECRET_WORDS)
    what = "something else" if secret else shown(value)
    return Fault(path=path, message=f"`{dotted(path)}` must be {expected}, not {what}", hint=hint)
