"""The log's two forms."""

import json
import logging
import re
from collections.abc import Iterator

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from agent.cli.logs import start_logging
from agent.config import Log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_text_has_time_level_name_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(Log(level="info"))
    logging.getLogger("pegcount.source").warning("%s went away", "pbx")
    logging.getLogger("pegcount.source").debug("not told at this level")
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning pegcount\.source: pbx went away\n", said.err)


def test_json_is_one_object_a_line_even_with_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(Log(format="json"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("pegcount.agent").exception("stopped")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    entry = json.loads(lines[0])
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "pegcount.agent", "stopped")
    assert entry["exception"].endswith("ValueError: two\nlines")


def test_what_is_no_http_leaves_no_trace_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(Log())
    server = logging.getLogger("aiohttp.server")
    for error in (BadHttpMessage("Missing 'Host' header"), KeyError("ours")):
        try:
            raise error
        except (BadHttpMessage, KeyError):
            server.exception("Error handling request from 192.0.2.7")
    said = capsys.readouterr().err
    assert "Host" not in said
    assert "KeyError: 'ours'" in said
