"""The record of what the engine has done."""

import logging

import pytest

from genrm.engines.progress import BatchEvent, EngineStats, Progress

EVENT = BatchEvent(stage="decode", num_rows=2, num_tokens=2, seconds=0.1)


def test_counts_of_all_kinds_add_up() -> None:
    progress = Progress()
    progress.count(completed_rows=1, prompt_tokens=10, cached_tokens=4, completion_tokens=3)
    progress.count(completed_rows=2, failed_batches=1)
    assert progress.stats == EngineStats(
        num_completed_rows=3,
        num_failed_batches=1,
        num_prompt_tokens=10,
        num_cached_tokens=4,
        num_completion_tokens=3,
    )


def test_an_observer_sees_every_piece_of_work_after_a_restart_only() -> None:
    early: list[BatchEvent] = []
    late: list[BatchEvent] = []
    progress = Progress(early.append)
    progress.report(EVENT)
    progress.count(completed_rows=1)
    progress.restart(late.append)
    progress.report(EVENT)
    assert (early, late) == ([EVENT], [EVENT])
    assert progress.stats == EngineStats()


def test_an_observer_that_fails_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_event: BatchEvent) -> None:
        raise RuntimeError("observer down")

    with caplog.at_level(logging.ERROR):
        Progress(fail).report(EVENT)
    assert "observer" in caplog.text


def test_work_moves_the_clock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    progress = Progress()
    now = 107.0
    assert progress.seconds_since == 7
    progress.report(EVENT)
    assert progress.seconds_since == 0
