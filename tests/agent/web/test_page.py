"""The page as text: read back by an HTML parser, compared with what the snapshot holds."""

import re
from html.parser import HTMLParser

from msgspec.structs import replace

from agent.ledger.snapshot import Snapshot
from agent.web.page import UploadOutcome, render, stages
from tests.agent.web.snapshots import BROKEN, BUSY, EMPTY, LARGE, NOW_MS

VOID = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Text, tags and attributes; complains of what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(snapshot: Snapshot, outcome: UploadOutcome | None = None) -> Reader:
    reader = Reader()
    reader.feed(render(snapshot, NOW_MS, outcome))
    assert reader.open == []
    return reader


def figures(snapshot: Snapshot) -> list[str]:
    return [stage.figure for stage in stages(snapshot, NOW_MS)]


def test_the_verdict_is_in_words_on_top() -> None:
    text = read(BUSY).text
    assert text.index("Healthy") < text.index("Every call is counted, and the platform has all but the last 42 events.")
    assert "Broken Calls are not being counted" in read(BROKEN).text


def test_the_pipeline_counts_from_heard_to_acknowledged() -> None:
    # 1581 legs + 84 registrations + 12 uses, 2 rejects; 1942 events of which 42 wait
    assert figures(BUSY) == ["1,679", "1,677", "1,942", "1,900", "1,900"]


def test_what_was_sent_without_an_answer_is_sent_but_not_acknowledged() -> None:
    assert figures(BROKEN) == ["24", "12", "21", "21", "0"]


def test_without_a_platform_nothing_is_sent() -> None:
    assert figures(EMPTY) == ["0", "0", "0", "–", "–"]


def test_times_are_the_sites_with_its_zone() -> None:
    text = read(BUSY).text
    assert "11:31:02 Europe/Berlin (CET, UTC+1)" in text
    assert "11:28:57" in text


def test_what_a_policy_sets_and_when_events_leave_is_shown() -> None:
    at_night = tuple(replace(uplink, window="22:00-06:00") for uplink in BUSY.uplinks)
    text = read(replace(BUSY, uplinks=at_night, governed=("schedule.window",))).text
    assert "Events leave 22:00-06:00 only" in text
    assert "The platform's policy sets schedule.window." in text


def test_calls_of_today_are_shown_with_class_outcome_and_talk_time() -> None:
    text = read(BUSY).text
    assert "101 +4930901820XX National Answered 1:32 office-pbx" in text
    assert "1:05:05 end not heard" in text


def test_a_problem_tells_what_to_do() -> None:
    text = read(BROKEN).text
    assert "3 things to look at" in text
    assert "Error: The disk is full" in text
    assert "What to do: Free some space on /var" in text
    assert "Warning: The platform refuses the token platform" in text


def test_empty_states_are_sentences() -> None:
    text = read(EMPTY).text
    for sentence in (
        "No calls yet today.",
        "No seat was registered or used yet today.",
        "No source is set up",
        "No platform is set up.",
    ):
        assert sentence in text


def test_there_is_no_button_where_nothing_can_be_uploaded() -> None:
    assert [tag for tag, _ in read(EMPTY).tags if tag == "button"] == []


def test_seats_beyond_the_shown_are_counted() -> None:
    text = read(LARGE).text
    assert "The first 200 of 1,230 seats." in text


def test_what_comes_from_a_phone_is_text_never_markup() -> None:
    reader = read(BROKEN)
    assert [tag for tag, attrs in reader.tags if tag == "img" or (tag == "script" and "src" not in attrs)] == []
    assert "<script>alert(1)</script>" in reader.text


def test_the_policy_needs_no_exception() -> None:
    for snapshot in (BUSY, EMPTY, BROKEN, LARGE):
        for tag, attrs in read(snapshot).tags:
            assert tag != "style"
            assert not [name for name in attrs if name == "style" or name.startswith("on")]
            for name in ("src", "href", "action"):
                assert (attrs.get(name) or "/").startswith(("/", "#")), (tag, attrs)


def test_the_outcome_of_an_upload_is_shown_to_a_browser_without_script() -> None:
    assert "Nothing was waiting." in read(BUSY, UploadOutcome("Nothing was waiting.", True)).text


def test_risks_are_told_in_words_and_only_where_there_are_any() -> None:
    assert "Risks" not in read(BUSY).text
    shown = read(BROKEN).text
    assert "A device is set up with a wrong account or password 10.0.1.23 123 1,214" in shown
    assert "<b>friendly-scanner</b>" in shown


def test_what_the_month_comes_to_is_called_an_estimate_and_names_its_card() -> None:
    text = read(BUSY).text
    assert "November 2026 so far an estimate by rate card 2026-11 (0123456789abcdef)" in text
    tiers = "graduated: 0.02 up to 1000, 0.0151 above"
    assert f"voice.minutes (national, mobile) 8,412.5 min 1,000 {tiers} 116.84375" in text
    assert "Total EUR 1,234.50" in text
    assert "Begins on 3 November, for older events are not kept." in text
    assert "Without a price: call 9,120, voice.minutes (local) 371.5. 12 events not counted yet." in text
    assert "so far" not in read(EMPTY).text
