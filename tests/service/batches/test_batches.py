"""Batches through OpenAI's own client: files in, verdicts out, errors line by line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from sqlalchemy.exc import OperationalError

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError
from service.admission import Admission
from service.batches import lines, runner, store, workflows
from service.batches.turns import Turns

if TYPE_CHECKING:
    from tests.service.batches.conftest import MakeLine, ServeBatches

Eventually = Callable[[Callable[[], bool]], None]


class WatchedEngine(FakeEngine):
    """The fake engine: it counts its prompts, may be held up, and may fail the first few."""

    def __init__(self, num_failures: int = 0) -> None:
        super().__init__()
        self.is_held = False
        self.num_running = 0
        self.most_running = 0
        self.num_prompts = 0
        self.num_failures = num_failures

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the fake engine."""
        self.num_prompts += len(prompts)
        if self.num_failures:
            self.num_failures -= 1
            raise EngineError("It broke.")
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        try:
            while self.is_held:  # noqa: ASYNC110 - another thread lets go
                await asyncio.sleep(0.01)
            return await super().complete(prompts, sampling, on_text=on_text)
        finally:
            self.num_running -= 1


@pytest.fixture
def engine() -> WatchedEngine:
    """An engine that can be watched."""
    return WatchedEngine()


def test_each_line_of_a_file_becomes_a_verdict(
    serve_batches: ServeBatches, make_line: MakeLine, engine: WatchedEngine
) -> None:
    names = [f"row-{i}" for i in range(25)]
    with serve_batches(engine) as caller:
        batch = caller.start([make_line(name, question=f"Is it {name}?") for name in names], metadata={"for": "test"})
        assert batch.status in ("validating", "in_progress")
        ended = caller.wait(batch)
        results = caller.read(ended.output_file_id)
        listed = caller.client.batches.list()
    assert ended.status == "completed"
    assert ended.metadata == {"for": "test"}
    assert ended.error_file_id is None
    assert ended.request_counts is not None
    assert (ended.request_counts.total, ended.request_counts.completed, ended.request_counts.failed) == (25, 25, 0)
    assert [result["custom_id"] for result in results] == names
    assert len({result["id"] for result in results}) == 25
    assert all(result["response"]["status_code"] == 200 and result["error"] is None for result in results)
    assert all(result["response"]["body"]["object"] == "verdict" for result in results)
    assert engine.num_prompts == 2 * 25
    assert engine.most_running <= 8
    assert [one.id for one in listed] == [batch.id]


def test_rankings_can_be_batched(serve_batches: ServeBatches, make_line: MakeLine) -> None:
    judged = make_line("one")["body"]
    body = {"query": judged["question"], "documents": ["Two.", "Three."], "image": judged["image"], "mode": "fast"}
    with serve_batches() as caller:
        batch = caller.start([{"custom_id": "one", "url": "/v1/rerank", "body": body}], endpoint="/v1/rerank")
        (result,) = caller.read(caller.wait(batch).output_file_id)
    assert {each["index"] for each in result["response"]["body"]["results"]} == {0, 1}


NEVER_A_REQUEST: list[tuple[bytes | dict[str, Any], str | None, str]] = [
    (b"{not json", None, "invalid_json"),
    (b"\xff\xfe{}", None, "invalid_json"),
    (b"[1, 2]", None, "invalid_value"),
    (b"[" * 3_000, None, "invalid_json"),
    (b"[" * 5_000, None, "body_too_large"),
    (rb'{"custom_id": "\ud800", "url": "/v1/judge", "body": {}}', None, "invalid_json"),
    ({"method": "POST", "url": "/v1/judge", "body": {}}, None, "missing_field"),
    ({"custom_id": 7, "url": "/v1/judge", "body": {}}, None, "invalid_value"),
    ({"custom_id": "", "url": "/v1/judge", "body": {}}, None, "invalid_value"),
    ({"custom_id": "x" * 513, "url": "/v1/judge", "body": {}}, None, "invalid_value"),
    ({"custom_id": "0", "method": "GET", "url": "/v1/judge", "body": {}}, "0", "invalid_value"),
    ({"custom_id": "1", "url": "/v1/chat/completions", "body": {}}, "1", "invalid_value"),
    ({"custom_id": "2", "url": "/v1/judge", "body": []}, "2", "invalid_value"),
    ({"custom_id": "3", "url": "/v1/judge"}, "3", "missing_field"),
    ({"custom_id": "4", "url": "/v1/judge", "body": {}, "extra": 1}, "4", "unknown_field"),
    (b'{"custom_id": "5", "pad": "' + b"x" * 40_000 + b'"}', None, "body_too_large"),
]
BAD_REQUESTS: list[tuple[dict[str, Any], str, int]] = [
    ({"question": None}, "missing_field", 422),
    ({"image": {"url": "data:image/png;base64,AAAA"}}, "invalid_image", 415),
    ({"image": {"url": "https://example.com/dog.png"}}, "remote_image_refused", 422),
    ({"image": {"url": "file:///etc/passwd"}}, "invalid_value", 422),
    ({"stream": True}, "invalid_value", 422),
    ({"samples": 10**9}, "invalid_value", 422),
    ({"model": "gpt"}, "model_not_found", 404),
    ({"question": "x" * 20_001}, "text_too_long", 413),
]


def test_a_line_that_cannot_be_followed_is_an_error_and_not_the_end(
    serve_batches: ServeBatches, make_line: MakeLine, engine: WatchedEngine
) -> None:
    bad = [line for line, *_ in NEVER_A_REQUEST]
    with serve_batches(engine, max_body_bytes=30_000) as caller:
        ended = caller.wait(caller.start([make_line("before"), b"", *bad, b"  ", make_line("after")]))
        failed = caller.read(ended.error_file_id)
        results = caller.read(ended.output_file_id)
    assert ended.status == "completed"
    assert ended.request_counts is not None
    assert ended.request_counts.total == len(bad) + 2
    assert (ended.request_counts.completed, ended.request_counts.failed) == (2, len(bad))
    assert [result["custom_id"] for result in results] == ["before", "after"]
    assert [(one["custom_id"], one["error"]["code"]) for one in failed] == [row[1:] for row in NEVER_A_REQUEST]
    assert [one["error"]["line"] for one in failed] == list(range(3, 3 + len(bad)))
    assert all(one["response"] is None for one in failed)
    assert engine.num_prompts == 2 * 2


def test_a_request_that_its_route_would_refuse_is_refused_in_the_same_words(
    serve_batches: ServeBatches, make_line: MakeLine, engine: WatchedEngine
) -> None:
    lines_ = []
    for number, (fields, *_) in enumerate(BAD_REQUESTS):
        line = make_line(str(number))
        body = {name: value for name, value in {**line["body"], **fields}.items() if value is not None}
        lines_.append({**line, "body": body})
    with serve_batches(engine) as caller:
        ended = caller.wait(caller.start([*lines_, make_line("good")]))
        failed = caller.read(ended.error_file_id)
        said = httpx.post(f"{caller.server.url}/v1/judge", json=lines_[1]["body"]).json()
    assert [one["error"]["code"] for one in failed] == [code for _, code, _ in BAD_REQUESTS]
    assert [one["response"]["status_code"] for one in failed] == [status for *_, status in BAD_REQUESTS]
    assert failed[1]["response"]["body"] == said
    assert ended.request_counts is not None
    assert ended.request_counts.completed == 1
    assert engine.num_prompts == 2


@pytest.mark.parametrize(
    ("names", "code", "line"), [(["a", "b", "a"], "duplicate_custom_id", 3), ([], "empty_file", None)]
)
def test_a_file_whose_results_could_not_be_told_apart_is_refused_before_anything_is_judged(
    serve_batches: ServeBatches,
    make_line: MakeLine,
    engine: WatchedEngine,
    names: list[str],
    code: str,
    line: int | None,
) -> None:
    with serve_batches(engine) as caller:
        ended = caller.wait(caller.start([make_line(name) for name in names] or [b" \t "]))
    assert ended.status == "failed"
    assert ended.errors is not None
    assert ended.errors.data is not None
    assert [(problem.code, problem.line) for problem in ended.errors.data] == [(code, line)]
    assert engine.num_prompts == 0


def test_more_lines_than_allowed_are_refused(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    with serve_batches() as caller:
        assert caller.wait(caller.start([make_line(str(i)) for i in range(3)])).status == "completed"
        ended = caller.wait(caller.start([make_line(str(i)) for i in range(4)]))
    assert ended.status == "failed"
    assert ended.errors is not None
    assert ended.errors.data is not None
    assert ended.errors.data[0].code == "too_many_lines"


def test_a_cancelled_batch_keeps_what_was_judged_and_judges_no_more(
    serve_batches: ServeBatches, make_line: MakeLine, engine: WatchedEngine, eventually: Eventually
) -> None:
    with serve_batches(engine, batch_workers=2) as caller:
        engine.is_held = True
        batch = caller.start([make_line(str(i)) for i in range(50)])
        eventually(lambda: engine.num_running == 2)
        assert caller.client.batches.cancel(batch.id).status == "cancelling"
        assert caller.client.batches.cancel(batch.id).status == "cancelling"
        engine.is_held = False
        ended = caller.wait(batch)
        results = caller.read(ended.output_file_id)
        done = caller.wait(caller.start([make_line("one")]))
        with pytest.raises(openai.ConflictError):
            caller.client.batches.cancel(done.id)
    assert ended.status == "cancelled"
    assert len(results) == 2


def test_lines_whose_turn_comes_too_late_expire(
    serve_batches: ServeBatches, make_line: MakeLine, engine: WatchedEngine, eventually: Eventually
) -> None:
    with serve_batches(engine, batch_workers=1) as caller:
        engine.is_held = True
        batch = caller.start([make_line(str(i)) for i in range(4)], completion_window="8s")
        eventually(lambda: engine.num_running == 1)
        assert batch.expires_at is not None
        time.sleep(max(0.0, batch.expires_at + 0.1 - time.time()))
        engine.is_held = False
        ended = caller.wait(batch)
        failed = caller.read(ended.error_file_id)
        results = caller.read(ended.output_file_id)
    assert ended.status == "expired"
    assert [result["custom_id"] for result in results] == ["0"]
    assert [(one["custom_id"], one["error"]["code"]) for one in failed] == [
        (name, "batch_expired") for name in ("1", "2", "3")
    ]


def test_a_batch_leaves_the_machine_to_requests_and_gets_on_all_the_same(
    serve_batches: ServeBatches, make_line: MakeLine, engine: WatchedEngine, eventually: Eventually
) -> None:
    with serve_batches(engine, batch_workers=4) as caller:
        admission = caller.server.app.state.admission
        with admission.admit():  # a request that takes its time
            engine.is_held = True
            batch = caller.start([make_line(str(i)) for i in range(40)])
            eventually(lambda: engine.num_running == 1)
            time.sleep(0.5)
            assert engine.num_running == 1
            engine.is_held = False
            caller.wait(batch, until=lambda now: now.request_counts is not None and now.request_counts.completed >= 3)
            assert engine.most_running == 1
        engine.is_held = True
        eventually(lambda: engine.num_running == 4)
        engine.is_held = False
        caller.wait(batch)


async def test_turns_are_given_in_order_and_to_nobody_once_closed() -> None:
    admission = Admission(max_queue=10, max_wait_seconds=10)
    turns = Turns(admission, num_workers=3)
    got: list[tuple[int, bool]] = []
    go = asyncio.Event()

    async def work(number: int) -> None:
        async with turns.take() as is_turn:
            got.append((number, is_turn))
            if is_turn:
                await go.wait()

    tasks = [asyncio.create_task(work(number)) for number in range(6)]
    await asyncio.sleep(0.1)
    assert got == [(0, True), (1, True), (2, True)]
    turns.is_closed = True
    await asyncio.sleep(0.1)
    assert got[3:] == [(3, False), (4, False), (5, False)]
    assert turns.num_running == 3
    go.set()
    await asyncio.gather(*tasks)
    assert turns.num_running == 0


def test_a_failure_of_the_engine_is_tried_again(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_RETRY_SECONDS", (0.01, 0.01))
    with serve_batches(WatchedEngine(num_failures=2)) as caller:
        assert caller.wait(caller.start([make_line("one")])).error_file_id is None
    with serve_batches(WatchedEngine(num_failures=3)) as caller:
        (failed,) = caller.read(caller.wait(caller.start([make_line("one")])).error_file_id)
    assert failed["error"]["code"] == "engine_failed"


def test_a_database_that_fails_for_a_while_delays_a_batch_and_does_not_end_it(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "_PAUSE_SECONDS", 0.05)
    num_failures = 6
    add_result = store.add_result

    def fail_first(*given: Any) -> bool:
        nonlocal num_failures
        if num_failures:
            num_failures -= 1
            raise OperationalError("INSERT", {}, Exception("no room"))
        return add_result(*given)

    monkeypatch.setattr(store, "add_result", fail_first)
    with serve_batches() as caller:
        ended = caller.wait(caller.start([make_line(str(i)) for i in range(9)]))
        assert len(caller.read(ended.output_file_id)) == 9
    assert ended.status == "completed"


def test_a_database_that_fails_while_pieces_are_handed_out_leaves_none_out(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "_PAUSE_SECONDS", 0.05)
    count_pieces, num_calls = store.count_pieces, 0

    def fail_sometimes(*given: Any) -> tuple[int, int]:
        nonlocal num_calls
        num_calls += 1
        if num_calls in (2, 3, 5):
            raise OperationalError("SELECT", {}, Exception("away"))
        return count_pieces(*given)

    monkeypatch.setattr(store, "count_pieces", fail_sometimes)
    with serve_batches(batch_workers=2) as caller:
        ended = caller.wait(caller.start([make_line(str(i)) for i in range(60)]))
        assert len(caller.read(ended.output_file_id)) == 60
    assert ended.status == "completed"


def test_a_bug_fails_the_batch_and_nobody_waits_for_it(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "_PAUSE_SECONDS", 0.01)
    empty: dict[str, Any] = {}
    monkeypatch.setattr(workflows, "plan_file", lambda *_, **__: empty["a secret detail"])
    with serve_batches() as caller:
        ended = caller.wait(caller.start([make_line("one")]))
    assert ended.status == "failed"
    assert ended.errors is not None
    assert ended.errors.data is not None
    assert ended.errors.data[0].code == "internal_error"
    assert "secret" not in str(ended.errors)


def test_a_line_at_which_the_process_ended_again_and_again_is_given_up(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch, engine: WatchedEngine
) -> None:
    monkeypatch.setattr(workflows, "_MAX_IDLE_STARTS", 2)
    start_piece = store.start_piece

    def start_often(*given: Any) -> tuple[store.Piece, int]:
        for _ in range(2):
            start_piece(*given)
        return start_piece(*given)

    monkeypatch.setattr(store, "start_piece", start_often)
    with serve_batches(engine) as caller:
        ended = caller.wait(caller.start([make_line("deadly")]))
        (failed,) = caller.read(ended.error_file_id)
    assert failed["error"]["code"] == "line_abandoned"
    assert engine.num_prompts == 0


def test_a_service_that_stops_leaves_the_rest_to_its_successor(
    serve_batches: ServeBatches, make_line: MakeLine, eventually: Eventually
) -> None:
    first, second = WatchedEngine(), WatchedEngine()
    with serve_batches(first, batch_workers=3) as caller:
        first.is_held = True
        batch = caller.start([make_line(str(i)) for i in range(30)])
        eventually(lambda: first.num_running == 3)
        caller.server.lifecycle.stop_accepting()  # what SIGTERM does first
        first.is_held = False
    with serve_batches(second) as caller:
        ended = caller.wait(batch)
        results = caller.read(ended.output_file_id)
    assert ended.status == "completed"
    assert [result["custom_id"] for result in results] == [str(i) for i in range(30)]
    assert first.num_prompts == 2 * 3
    assert first.num_prompts + second.num_prompts == 2 * 30


def test_a_batch_that_is_written_down_when_the_service_stops_is_not_refused_any_more(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller would send it again, and the next process would judge it twice."""
    add = store.add_batch
    with serve_batches() as caller:

        def add_and_stop(*args: Any, **values: Any) -> store.Batch:
            batch = add(*args, **values)
            caller.server.lifecycle.stop_accepting()  # what SIGTERM does first
            return batch

        monkeypatch.setattr(store, "add_batch", add_and_stop)
        batch = caller.start([make_line("one")])
        with pytest.raises(openai.InternalServerError, match="stopping"):
            caller.client.batches.create(
                input_file_id=batch.input_file_id,
                endpoint="/v1/judge",  # type: ignore[arg-type]
                completion_window="24h",
            )
    with serve_batches() as caller:
        assert caller.wait(batch).status == "completed"
        assert [each.id for each in caller.client.batches.list()] == [batch.id]


def test_a_batch_that_could_not_be_submitted_at_once_is_submitted_by_housekeeping(
    serve_batches: ServeBatches, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = workflows.BatchWorkflows.submit
    failures = [OperationalError("INSERT", {}, Exception("the connection is lost"))]

    def fail_once(self: workflows.BatchWorkflows, batch_id: str) -> None:
        if failures:
            raise failures.pop()
        submit(self, batch_id)

    with serve_batches() as caller:
        monkeypatch.setattr(workflows.BatchWorkflows, "submit", fail_once)
        assert caller.wait(caller.start([make_line("one")])).status == "completed"
    assert not failures


def test_counts_are_there_for_prometheus(serve_batches: ServeBatches, make_line: MakeLine) -> None:
    with serve_batches() as caller:
        caller.wait(caller.start([make_line("one"), b"no"]))
        registry = caller.server.app.state.metrics.registry
    assert registry.get_sample_value("genrm_batch_lines_total", {"result": "completed"}) == 1
    assert registry.get_sample_value("genrm_batch_lines_total", {"result": "failed"}) == 1
    assert registry.get_sample_value("genrm_batches_total", {"status": "completed"}) == 1
