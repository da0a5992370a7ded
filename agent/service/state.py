"""What the running agent shows: the ledger's figures and the live values beside them, as one Snapshot."""

import asyncio
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec
from sqlite_utils import Database

from agent.config.tables import Config
from agent.ledger import machine, queries
from agent.ledger.errors import LedgerError
from agent.ledger.snapshot import (
    EstimateView,
    PipelineView,
    Problem,
    RiskView,
    Snapshot,
    SourceView,
    TodayView,
    UplinkView,
)
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from agent.service.estimate import estimate
from agent.service.problems import problem
from agent.service.supervisor import SupervisedSource
from agent.web.page import UploadOutcome
from uplink.problems import CATALOGUE
from uplink.schedule import Schedule
from uplink.uploader import Standing, UploadReport

REJECTS_SHOWN_MS = RISKS_SHOWN_MS = 24 * 3600 * 1000
CLONED_SHOWN_MS = 24 * 3600 * 1000
CLOCK_SLACK_MS = 60_000
ASKED_WAIT_S = 60.0
"""How long one who asks for an upload waits for its end: as long as one request may take. A backlog of days takes hours on a
thin line."""
Health = Literal["ok", "attention", "broken", "stopped"]
_SEVERITY: dict[str, Literal["notice", "warning", "error"]] = {
    "warning": "warning",
    "error": "error",
    "critical": "error",
}


def program_version() -> str:
    try:
        return version("pegcount")
    except PackageNotFoundError:
        return "0.1.0"


def ledger_bytes(path: Path) -> int:
    parts = (path.with_name(path.name + suffix) for suffix in ("", "-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


class AgentState:
    """`agent.web.app.WebState` of a running agent."""

    def __init__(
        self, config: Config, ledger: Ledger, sources: list[SupervisedSource], schedules: Sequence[Schedule]
    ) -> None:
        self.config = config
        self._ledger = ledger
        self._sources = sources
        self._schedules = schedules
        self._reader = open_for_reading(ledger.path)
        self._reading = threading.Lock()
        self._asked: set[asyncio.Task[UploadReport]] = set()
        self.page_fault = ""
        self.policy_fault = ""
        self.problem_codes: tuple[str, ...] = ()
        """Of the last snapshot, the gravest first."""

    def close(self) -> None:
        with self._reading:
            self._reader.close()

    def snapshot(self) -> Snapshot:
        now_ms = self._ledger.clock_ms()
        with self._reading:
            totals = {total.name: total for total in queries.sources(self._reader)}
            views = tuple(self._source(source, totals.get(source.source.name)) for source in self._sources)
            pipeline = queries.pipeline(self._reader, ledger_bytes(self._ledger.path))
            uplinks = self._uplinks(self._reader)
            today = queries.today(self._reader, now_ms, self.config.site.timezone)
            newest = queries.newest_recorded_ms(self._reader)
            cloned_ms = queries.epoch_began_ms(self._reader, machine.REASON)
            rejects = queries.latest_rejects(self._reader, now_ms - REJECTS_SHOWN_MS)
            risks = queries.latest_risks(self._reader, now_ms - RISKS_SHOWN_MS)
            estimated = estimate(self._reader, self.config, now_ms)
        problems = (
            *self._own_problems(now_ms, newest, cloned_ms),
            *self._reject_problems(rejects),
            *self._uplink_problems(),
        )
        gravest_first = sorted(problems, key=lambda found: ("error", "warning", "notice").index(found.severity))
        self.problem_codes = tuple(dict.fromkeys(found.code for found in gravest_first))
        return assemble(self.config, now_ms, views, pipeline, uplinks, today, problems, risks, estimated)

    def _source(self, source: SupervisedSource, totals: queries.SourceTotals | None) -> SourceView:
        probe = source.probe()
        view = source_view(source.source.name, source.kind.name, totals)
        return msgspec.structs.replace(
            view,
            state=source.standing.state,
            detail=source.standing.text or probe.detail,
            heard_at_ms=max(view.heard_at_ms, probe.heard_at_ms),
            backlog_bytes=probe.backlog_bytes,
            counters=probe.counters,
        )

    def _uplinks(self, db: Database) -> tuple[UplinkView, ...]:
        next_ms = {schedule.uploader.name: schedule.next_at_ms() or 0 for schedule in self._schedules}
        return tuple(
            msgspec.structs.replace(
                view,
                next_try_at_ms=next_ms.get(view.destination, 0),
                address=address_of(self.config, view.destination),
                window=window_of(self.config, view.destination),
            )
            for view in queries.uplinks(db)
        )

    def _own_problems(self, now_ms: int, newest_ms: int, cloned_ms: int) -> list[Problem]:
        found = [
            problem(s.standing.code, s.source.name, s.standing.text, s.standing.hint, s.standing.since_ms)
            for s in self._sources
            if s.standing.code
        ]
        trouble = self._ledger.trouble
        if trouble is not None:
            found.append(problem(trouble.code, "", str(trouble), trouble.hint, self._ledger.trouble_since_ms))
        if self._ledger.quarantined:
            found.append(problem("ledger_quarantined", "", f"It is kept as {self._ledger.quarantined}."))
        if 0 <= now_ms - cloned_ms < CLONED_SHOWN_MS:
            found.append(problem("cloned", since_ms=cloned_ms))
        if newest_ms > now_ms + CLOCK_SLACK_MS:
            found.append(problem("clock_backwards"))
        if not self._schedules:
            found.append(problem("uplink_absent"))
        if self.policy_fault:
            found.append(problem("policy_refused", "", self.policy_fault))
        if self.page_fault:
            found.append(problem("page_unavailable", "", f"{self.config.web.listen}: {self.page_fault}"))
        return found

    def _reject_problems(self, rejects: list[queries.LatestReject]) -> list[Problem]:
        return [
            problem(
                "source_rejects",
                reject.source,
                f"{reject.count} in the last day; the latest, at {reject.position}: {reject.message}",
                since_ms=reject.first_at_ms,
            )
            for reject in rejects
        ]

    def _uplink_problems(self) -> list[Problem]:
        return [
            _told(standing, schedule.uploader.name)
            for schedule in self._schedules
            for standing in schedule.uploader.problems()
        ]

    async def upload_now(self) -> UploadOutcome:
        if not self._schedules:
            return UploadOutcome(text="There is no [uplink] in the configuration: nothing is sent.", ok=False)
        asked = [asyncio.create_task(schedule.upload_now()) for schedule in self._schedules]
        self._asked.update(asked)
        for task in asked:
            task.add_done_callback(self._asked.discard)
        await asyncio.wait(asked, timeout=ASKED_WAIT_S)
        outcomes = [_came_of(task) for task in asked]
        if len(outcomes) == 1:
            return outcomes[0]
        named = zip(self._schedules, outcomes, strict=True)
        text = " ".join(f"{schedule.uploader.name}: {outcome.text}" for schedule, outcome in named)
        return UploadOutcome(text=text, ok=all(outcome.ok for outcome in outcomes))


def address_of(config: Config, destination: str) -> str:
    """Where a destination is, as the status page shows it."""
    for one in config.destinations:
        if one.name == destination:
            return str(getattr(one.settings, "url", "")) or one.kind
    return config.uplink.url if config.uplink else ""


def window_of(config: Config, destination: str) -> str:
    """The hours in which events leave for it; empty: at any."""
    for one in config.destinations:
        if one.name == destination:
            return one.settings.window
    return config.uplink.window if config.uplink else ""


def _told(standing: Standing, about: str) -> Problem:
    cause = standing.problem
    return Problem(
        code=cause.code,
        severity=_SEVERITY[cause.severity],
        title=cause.text,
        text=standing.detail or cause.text,
        hint=cause.hint,
        since_ms=standing.since_ms,
        about=about,
    )


def _came_of(asked: asyncio.Task[UploadReport]) -> UploadOutcome:
    """A long upload goes on by itself, and is not waited for."""
    if not asked.done():
        return UploadOutcome(text="The upload is under way; it goes on until nothing waits.", ok=True)
    try:
        return _outcome(asked.result())
    except (TimeoutError, LedgerError) as error:
        return UploadOutcome(text=f"The upload could not be made: {error}", ok=False)


def _outcome(report: UploadReport) -> UploadOutcome:
    if report.problem:
        cause = CATALOGUE[report.problem]
        return UploadOutcome(text=f"The upload did not come through: {cause.text} {cause.hint}", ok=False)
    if report.acked == 0:
        return UploadOutcome(text="The platform has everything; nothing was waiting.", ok=True)
    return UploadOutcome(text=f"{report.acked} events were acknowledged.", ok=True)


def source_view(name: str, kind: str, totals: queries.SourceTotals | None) -> SourceView:
    """What the ledger knows of a source, without a running agent."""
    if totals is None:
        return SourceView(name=name, kind=kind, state="stopped")
    return SourceView(
        name=name,
        kind=kind,
        state="stopped",
        legs=totals.legs,
        calls=totals.calls,
        registrations=totals.registrations,
        rejects=totals.rejects,
        heard_at_ms=totals.heard_at_ms,
    )


def stored_snapshot(config: Config, now_ms: int) -> Snapshot:
    """What the ledger shows while no agent runs. Raises LedgerError where there is none."""
    path = Path(config.ledger.path)
    db = open_for_reading(path)
    try:
        totals = {total.name: total for total in queries.sources(db)}
        views = tuple(source_view(source.name, source.kind, totals.get(source.name)) for source in config.sources)
        snapshot = assemble(
            config,
            now_ms,
            views,
            queries.pipeline(db, ledger_bytes(path)),
            tuple(queries.uplinks(db)),
            queries.today(db, now_ms, config.site.timezone),
            (),
            queries.latest_risks(db, now_ms - RISKS_SHOWN_MS),
            estimate(db, config, now_ms),
        )
    finally:
        db.close()
    return msgspec.structs.replace(
        snapshot, health="stopped", verdict="The agent is not running; these are the figures it left."
    )


def assemble(
    config: Config,
    now_ms: int,
    sources: tuple[SourceView, ...],
    pipeline: PipelineView,
    uplinks: tuple[UplinkView, ...],
    today: TodayView,
    problems: tuple[Problem, ...],
    risks: tuple[RiskView, ...],
    estimated: EstimateView | None,
) -> Snapshot:
    health, verdict = judge(problems, sources, uplinks)
    return Snapshot(
        taken_at_ms=now_ms,
        version=program_version(),
        site=config.site.name or config.site.id,
        site_id=config.site.id,
        timezone=config.site.timezone,
        health=health,
        verdict=verdict,
        sources=sources,
        pipeline=pipeline,
        uplinks=uplinks,
        today=today,
        problems=problems,
        risks=risks,
        estimate=estimated,
        governed=config.governed,
    )


def judge(
    problems: tuple[Problem, ...], sources: tuple[SourceView, ...], uplinks: tuple[UplinkView, ...]
) -> tuple[Health, str]:
    """The verdict in words."""
    errors = [found for found in problems if found.severity == "error"]
    warnings = [found for found in problems if found.severity == "warning"]
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        return "broken", f"Something needs mending: {errors[0].title.rstrip('.')}{more}."
    if warnings:
        more = f" and {len(warnings) - 1} more" if len(warnings) > 1 else ""
        return "attention", f"Counting goes on; something needs a look: {warnings[0].title.rstrip('.')}{more}."
    waiting = sum(uplink.backlog for uplink in uplinks)
    sent = "everything is acknowledged" if uplinks and not waiting else f"{waiting} events wait for the next upload"
    hearing = f"All is well: {len(sources)} source{'s are' if len(sources) != 1 else ' is'} heard"
    return "ok", f"{hearing}, {sent}." if uplinks else f"{hearing}, nothing is sent."
