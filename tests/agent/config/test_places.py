"""The locator: expected lines and columns are counted by hand."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.config.findings import Path
from agent.config.places import Places

TEXT = '''# a comment with [brackets] and = signs
title = "x = [1]"   # trailing

[site]
id = 'a#b'
 name = """
two # lines
"quoted" \\""""
dialplan.country = "DE"
"odd key" . sub = 1

[[source]]
name = "a"
ports = [ 1, 2, # one
   { x = 1, y.z = [3] } ]

[[source]]
name = "b"
[source.auth]
user = 1979-05-27 07:32:00
[[source.auth2]]
deep = true
[[source.auth2]]
deep = false
'''


def places(*path: str | int, at: str = "value") -> tuple[int, int]:
    return Places(TEXT).line_column(path, at)


def test_keys_and_values_of_the_top() -> None:
    assert places("title", at="key") == (2, 1)
    assert places("title") == (2, 9)


def test_a_key_in_a_table_indented_and_behind_a_long_string() -> None:
    assert places("site", "name", at="key") == (6, 2)
    assert places("site", "dialplan", "country", at="key") == (9, 10)
    assert places("site", "dialplan", "country") == (9, 20)


def test_quoted_and_dotted_keys() -> None:
    assert places("site", "odd key", at="key") == (10, 1)
    assert places("site", "odd key", "sub", at="key") == (10, 13)


def test_elements_of_arrays_and_inline_tables() -> None:
    assert places("source", 0, "ports", 1) == (14, 14)
    assert places("source", 0, "ports", 2, "x", at="key") == (15, 6)
    assert places("source", 0, "ports", 2, "y", "z", 0) == (15, 20)


def test_arrays_of_tables_count_and_their_subtables_belong_to_the_newest() -> None:
    assert places("source", 1, at="key") == (17, 1)
    assert places("source", 1, "name") == (18, 8)
    assert places("source", 1, "auth", "user") == (20, 8)
    assert places("source", 1, "auth2", 1, "deep") == (24, 8)


def test_what_is_not_there_is_placed_at_the_table_around_it() -> None:
    assert places("source", 1, "nothing", at="key") == (17, 1)
    assert places("site", "nothing") == (4, 1)
    assert places("nothing") == (0, 0)


def _paths(tree: Any, path: Path = ()) -> list[Path]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(one for key, value in items for one in _paths(value, (*path, key)))]


def test_every_path_of_the_tree_is_placed() -> None:
    known = Places(TEXT)
    assert [path for path in _paths(tomllib.loads(TEXT))[1:] if path not in {*known.keys, *known.values}] == []


KEYS = st.text("abc-_1", min_size=1, max_size=3)
SCALARS = st.sampled_from(
    ["1", "-1.5e3", "true", '"a\\"]b"', "'[}'", '"""x\n"" ]"""', "'''\n#'''", "2026-11-20 10:00:00"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ",#]\n".join(items) + " ]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}= {value}" for key, value in pairs.items()) + "}"
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_valid_text_has_a_place_for_every_path(top: dict[str, str], table: dict[str, str]) -> None:
    lines = [f"{key} = {value}" for key, value in top.items()] + ["[[zz]]"] + [f"{k} = {v}" for k, v in table.items()]
    text = "\n".join(lines)
    known = Places(text)
    missing = [path for path in _paths(tomllib.loads(text))[1:] if path not in {*known.keys, *known.values}]
    assert missing == []
