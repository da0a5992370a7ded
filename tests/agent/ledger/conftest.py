"""Commits follow each other closely in these tests: how they are grouped is no matter here."""

import pytest


@pytest.fixture(autouse=True)
def quick_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.ledger.writer.COMMIT_EVERY_S", 0.01)
