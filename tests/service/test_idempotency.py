"""`Idempotency-Key`: the same request again gets the same answer, and nothing is done twice."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.fake import FakeExpert
from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError
from service import idempotency
from service.errors import StorageError
from service.idempotency import KEPT_SECONDS, Fingerprint, forget_old_answers
from service.tables import remembered

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, MakeImage, OpenApp, RecordingEngine

KEY = {"Idempotency-Key": "4d7a-1"}


@pytest.fixture
def database(tmp_path: Path) -> str:
    """URL of a new SQLite database."""
    return f"sqlite:///{tmp_path / 'genrm.db'}"


@pytest.fixture
async def http(open_app: OpenApp, database: str, recording_engine: RecordingEngine) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has a database and notes what it judges."""
    async with open_app(recording_engine, database_url=database) as client:
        yield client


async def test_the_same_request_again_gets_the_same_answer_and_is_not_judged_again(
    http: httpx.AsyncClient, make_body: MakeBody, recording_engine: RecordingEngine
) -> None:
    first = await http.post("/v1/judge", json=make_body(), headers=KEY)
    again = await http.post("/v1/judge", json=make_body(), headers={**KEY, "X-Request-Id": "another"})
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["X-Request-Id"] == "another"
    assert len(recording_engine.prompts) == 2


async def test_a_form_is_the_same_whatever_its_boundary(
    http: httpx.AsyncClient, make_image: MakeImage, recording_engine: RecordingEngine
) -> None:
    texts = {"question": "How many?", "response_a": "One.", "response_b": "Two."}
    answers = [
        await http.post("/v1/judge", data=texts, files={"image": ("a.png", make_image())}, headers=KEY)
        for _ in range(2)
    ]
    assert answers[0].request.headers["content-type"] != answers[1].request.headers["content-type"]
    assert answers[1].content == answers[0].content
    assert len(recording_engine.prompts) == 2
    changed = await http.post(
        "/v1/judge", data={**texts, "question": "Who?"}, files={"image": ("a.png", make_image())}, headers=KEY
    )
    assert changed.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_stream_is_repeated_to_its_end(http: httpx.AsyncClient, make_body: MakeBody) -> None:
    first = await http.post("/v1/judge", json=make_body(stream=True), headers=KEY)
    again = await http.post("/v1/judge", json=make_body(stream=True), headers=KEY)
    assert "event: verdict" in first.text
    assert again.text == first.text
    assert again.headers["content-type"] == first.headers["content-type"]


async def test_an_upload_and_a_batch_are_made_once(http: httpx.AsyncClient) -> None:
    async def upload() -> str:
        form = {"data": {"purpose": "batch"}, "files": {"file": ("f", b"{}")}}
        answer = await http.post("/v1/files", headers={"Idempotency-Key": "upload"}, **form)  # type: ignore[arg-type]
        return str(answer.json()["id"])

    file_id = await upload()
    assert await upload() == file_id
    body = {"input_file_id": file_id, "endpoint": "/v1/judge"}
    first = await http.post("/v1/batches", json=body, headers=KEY)
    again = await http.post("/v1/batches", json=body, headers=KEY)
    assert again.json() == first.json()
    assert len((await http.get("/v1/batches")).json()["data"]) == 1


@pytest.mark.parametrize("other", [{"path": "/v1/rerank"}, {"path": "/v1/judge", "question": "Another?"}])
async def test_a_key_cannot_stand_for_another_request(
    http: httpx.AsyncClient, make_body: MakeBody, other: dict[str, str]
) -> None:
    await http.post("/v1/judge", json=make_body(), headers=KEY)
    path, fields = other["path"], {name: value for name, value in other.items() if name != "path"}
    answer = await http.post(path, json=make_body(**fields), headers=KEY)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_key_cannot_stand_for_a_request_with_another_query(
    open_app: OpenApp, database: str, make_body: MakeBody
) -> None:
    body = {"image": make_body()["image"], "text": "There is a dog."}
    async with open_app(experts=[FakeExpert({"dog": 1})], database_url=database) as http:
        found = await http.post("/v1/verify", json=body, headers=KEY)
        drawn = await http.post("/v1/verify", json=body, headers=KEY, params={"annotated": "png"})
        again = await http.post("/v1/verify", json=body, headers=KEY)
    assert (drawn.status_code, drawn.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert again.content == found.content


class SlowEngine(FakeEngine):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.go = asyncio.Event()

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the fake engine."""
        self.is_asked.set()
        await self.go.wait()
        return await super().complete(prompts, sampling, on_text=on_text)


async def test_while_the_first_runs_the_second_is_told_to_wait(
    open_app: OpenApp, database: str, make_body: MakeBody
) -> None:
    engine = SlowEngine()
    async with open_app(engine, database_url=database) as http:
        running = asyncio.create_task(http.post("/v1/judge", json=make_body(), headers=KEY))
        await engine.is_asked.wait()
        second = await http.post("/v1/judge", json=make_body(), headers=KEY)
        assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_key_in_use")
        assert int(second.headers["Retry-After"]) >= 1
        engine.go.set()
        first = await running
        again = await http.post("/v1/judge", json=make_body(), headers=KEY)
        assert again.content == first.content


class FailingEngine(FakeEngine):
    """Fails once."""

    def __init__(self) -> None:
        super().__init__()
        self.num_calls = 0

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the fake engine."""
        self.num_calls += 1
        if self.num_calls == 1:
            raise EngineError("It broke.")
        return await super().complete(prompts, sampling, on_text=on_text)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_another_try_may_change_is_tried_again(
    open_app: OpenApp, database: str, make_body: MakeBody, *, stream: bool
) -> None:
    engine = FailingEngine()
    async with open_app(engine, database_url=database) as http:
        failed = await http.post("/v1/judge", json=make_body(stream=stream), headers=KEY)
        assert "engine_failed" in failed.text
        again = await http.post("/v1/judge", json=make_body(stream=stream), headers=KEY)
        assert "engine_failed" not in again.text
        assert "Idempotent-Replayed" not in again.headers
    assert engine.num_calls > 1


async def test_what_the_request_is_at_fault_for_stays(http: httpx.AsyncClient, make_body: MakeBody) -> None:
    first = await http.post("/v1/judge", json=make_body(mode="slow"), headers=KEY)
    again = await http.post("/v1/judge", json=make_body(mode="slow"), headers=KEY)
    assert first.status_code == 422
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ключ", "a\tb"])
async def test_a_key_that_is_none_is_refused(http: httpx.AsyncClient, make_body: MakeBody, key: str) -> None:
    answer = await http.post("/v1/judge", json=make_body(), headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    longest = await http.post("/v1/judge", json=make_body(), headers={"Idempotency-Key": "x" * 255})
    assert longest.status_code == 200


async def test_without_a_database_the_header_is_refused_and_not_ignored(
    client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    answer = await client.post("/v1/judge", json=make_body(), headers=KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_database")


async def test_a_key_belongs_to_its_caller(
    open_app: OpenApp, database: str, make_body: MakeBody, recording_engine: RecordingEngine
) -> None:
    async with open_app(
        recording_engine, database_url=database, api_keys="alice:alices-long-secret,bob:bobs-long-secret"
    ) as http:
        for name in ("alice", "bob"):
            headers = {**KEY, "Authorization": f"Bearer {name}s-long-secret"}
            answer = await http.post("/v1/judge", json=make_body(), headers=headers)
            assert "Idempotent-Replayed" not in answer.headers
    assert len(recording_engine.prompts) == 4


async def test_answers_outlive_the_service_and_are_forgotten_in_the_end(
    open_app: OpenApp, database: str, make_body: MakeBody
) -> None:
    async with open_app(database_url=database) as http:
        first = await http.post("/v1/judge", json=make_body(), headers=KEY)
    async with open_app(database_url=database) as http:
        keeper = http._transport.app.state.keeper  # type: ignore[attr-defined]
        again = await http.post("/v1/judge", json=make_body(), headers=KEY)
        assert again.content == first.content
        await keeper.database.run(
            lambda connection: connection.execute(
                remembered.update().values(created_at=remembered.c.created_at - KEPT_SECONDS - 1)
            )
        )
        anew = await http.post("/v1/judge", json=make_body(), headers=KEY)
        assert "Idempotent-Replayed" not in anew.headers
        await keeper.database.run(lambda connection: forget_old_answers(connection, 2**40))
        assert "Idempotent-Replayed" not in (await http.post("/v1/judge", json=make_body(), headers=KEY)).headers


async def test_a_key_that_could_not_be_let_go_of_can_be_used_again(
    http: httpx.AsyncClient, make_body: MakeBody, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        for name in ("_remember", "_release"):
            broken.setattr(idempotency, name, lambda *_: (_ for _ in ()).throw(StorageError("no room")))
        assert (await http.post("/v1/judge", json=make_body(), headers=KEY)).status_code == 200
    again = await http.post("/v1/judge", json=make_body(), headers=KEY)
    assert again.status_code == 200
    assert "Idempotent-Replayed" not in again.headers


async def test_a_key_of_a_process_that_was_killed_can_be_used_at_once(
    http: httpx.AsyncClient, make_body: MakeBody
) -> None:
    """Of a database that one process at a time uses: callers come back before housekeeping has looked."""
    await http.post("/v1/judge", json=make_body(), headers=KEY)
    keeper = http._transport.app.state.keeper  # type: ignore[attr-defined]
    unanswered = remembered.update().values(replica="killed", status=None)
    await keeper.database.run(lambda connection: connection.execute(unanswered))
    again = await http.post("/v1/judge", json=make_body(), headers=KEY)
    assert again.status_code == 200
    assert "Idempotent-Replayed" not in again.headers


@given(body=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_it_does_not_matter_how_a_body_comes_in(body: bytes, cuts: list[int]) -> None:
    def take(boundary: str, cuts: list[int]) -> bytes:
        kind = f"multipart/form-data; boundary={boundary}".encode()
        headers = [(b"content-type", kind)]
        taken = Fingerprint({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers})
        content = b"--" + boundary.encode() + body + b"--" + boundary.encode() + b"--"
        edges = [0, *sorted(cuts), len(content)]
        for start, stop in itertools.pairwise(edges):
            taken.add(content[start:stop])
        return taken.digest()

    first, second = secrets.token_hex(8), secrets.token_hex(8)
    assert take(first, cuts) == take(second, [])
