"""`/v1/files`: uploads, lists, downloads, deletions, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import openai
import pytest

from service.batches.files import CHUNK_BYTES

if TYPE_CHECKING:
    from tests.service.batches.conftest import MakeLine, ServeBatches


def test_a_file_comes_back_as_it_was_sent(serve_batches: ServeBatches) -> None:
    content = bytes(range(256)) * (CHUNK_BYTES // 100)  # more than two chunks
    with serve_batches() as caller:
        files = caller.client.files
        sent = files.create(file=("naïve\0.jsonl", content), purpose="batch")
        assert sent.bytes == len(content)
        assert sent.filename.startswith("na")
        assert files.content(sent.id).content == content
        assert files.retrieve(sent.id) == sent
        empty = files.create(file=("empty", b""), purpose="batch")
        assert files.content(empty.id).content == b""
        assert files.delete(sent.id).deleted
        with pytest.raises(openai.NotFoundError):
            files.retrieve(sent.id)
        with pytest.raises(openai.NotFoundError):
            files.content(sent.id)
        assert [one.id for one in files.list()] == [empty.id]


def test_lists_come_in_pages(serve_batches: ServeBatches) -> None:
    with serve_batches() as caller:
        files = caller.client.files
        ids = [files.create(file=("f", str(i).encode()), purpose="batch").id for i in range(5)]
        page = files.list(limit=2)
        assert page.has_more
        everything = [one.id for one in files.list(limit=2)]  # its client turns the pages
        assert sorted(everything) == sorted(ids)
        assert [one.id for one in files.list(order="asc", limit=2)] == everything[::-1]
        assert list(files.list(after="file-nobody")) == []
        assert list(files.list(purpose="batch_output")) == []


def test_a_file_is_kept_as_long_as_its_owner_says_and_not_longer_than_the_settings(serve_batches: ServeBatches) -> None:
    with serve_batches(file_retention_days=2) as caller:
        files = caller.client.files
        plain = files.create(file=("f", b"x"), purpose="batch")
        short = files.create(file=("f", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
        long = files.create(file=("f", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 10**7})
        kept = [one.expires_at - one.created_at for one in (plain, short, long) if one.expires_at is not None]
        assert kept == [172_800, 3_600, 172_800]
        with pytest.raises(openai.UnprocessableEntityError, match="expires_after"):
            files.create(file=("f", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 0})


def test_a_file_of_a_running_batch_cannot_be_deleted(serve_batches: ServeBatches, make_line: MakeLine) -> None:
    with serve_batches() as caller:
        done = caller.wait(caller.start([make_line("one"), b"bad"]))
        assert done.output_file_id is not None
        with caller.server.app.state.admission.admit():
            running = caller.start([make_line(str(i)) for i in range(2_000)])
            with pytest.raises(openai.ConflictError, match="belongs to a batch"):
                caller.client.files.delete(running.input_file_id)
            caller.client.batches.cancel(running.id)
        caller.wait(running)
        caller.client.files.delete(done.input_file_id)
        caller.client.files.delete(done.output_file_id)
        left = caller.client.batches.retrieve(done.id)
        assert left.output_file_id is None
        assert left.error_file_id is not None


def test_a_batch_still_counts_its_lines_when_the_files_of_their_results_are_deleted(
    serve_batches: ServeBatches, make_line: MakeLine
) -> None:
    with serve_batches() as caller:
        done = caller.wait(caller.start([make_line("one"), make_line("two"), b"bad"]))
        for file_id in (done.output_file_id, done.error_file_id):
            assert file_id is not None
            caller.client.files.delete(file_id)
            for ask in (caller.client.files.retrieve, caller.client.files.content, caller.client.files.delete):
                with pytest.raises(openai.NotFoundError):
                    ask(file_id)
        left = caller.client.batches.retrieve(done.id)
        assert left.request_counts == done.request_counts
        assert (left.output_file_id, left.error_file_id) == (None, None)


def test_a_bad_upload_is_refused_with_what_to_do(serve_batches: ServeBatches) -> None:
    with serve_batches(max_file_bytes=2_000) as caller, httpx.Client(base_url=caller.server.url) as http:

        def send(**request: object) -> tuple[int, str, str | None]:
            answer = http.post("/v1/files", **request)  # type: ignore[arg-type]
            error = answer.json()["error"]
            return answer.status_code, error["code"], error["param"]

        file = {"file": ("f.jsonl", b"{}")}
        assert send(data={"purpose": "fine-tune"}, files=file) == (422, "invalid_value", "purpose")
        assert send(files=file) == (422, "missing_field", "purpose")
        assert send(data={"purpose": "batch"}) == (422, "missing_field", "file")
        assert send(data={"purpose": "batch", "a": "b"}, files=file) == (422, "unknown_field", "a")
        assert send(data={"purpose": "batch"}, files={"file": ("f", b"x" * 2_001)}) == (413, "file_too_large", "file")
        assert send(data={"purpose": "batch"}, files={"file": ("f", b"x" * 200_000)})[:2] == (413, "body_too_large")
        assert send(data={"purpose": "batch"}, files=[("file", b"x"), ("file", b"y")])[:2] == (422, "invalid_multipart")
        assert send(content=b"--x", headers={"Content-Type": "multipart/form-data; boundary=y"})[0] == 422
        assert send(json={"purpose": "batch"})[0] == 422
        assert http.get("/v1/files").json()["data"] == []


def test_files_and_batches_are_their_owners(serve_batches: ServeBatches, make_line: MakeLine) -> None:
    with serve_batches(api_keys="alice:alices-long-secret,bob:bobs-long-secret") as caller:
        alice, bob = (caller.client.with_options(api_key=f"{name}s-long-secret") for name in ("alice", "bob"))
        mine = type(caller)(caller.server, alice)
        done = mine.wait(mine.start([make_line("one")]))
        assert done.output_file_id is not None
        for file_id in (done.input_file_id, done.output_file_id):
            assert alice.files.content(file_id).content
            for ask in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with pytest.raises(openai.NotFoundError):
                    ask(file_id)
        with pytest.raises(openai.NotFoundError):
            bob.batches.retrieve(done.id)
        with pytest.raises(openai.NotFoundError):
            bob.batches.cancel(done.id)
        with pytest.raises(openai.UnprocessableEntityError):
            bob.batches.create(input_file_id=done.input_file_id, endpoint="/v1/judge", completion_window="24h")  # type: ignore[arg-type]
        assert list(bob.files.list()) == []
        assert list(bob.batches.list()) == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"input_file_id": "file-nobody"}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {"k" * 65: "x"}}, f"metadata.{'k' * 40}….[key]"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_a_batch_that_makes_no_sense_is_refused(
    batches_client: httpx.AsyncClient, fields: dict[str, object], param: str
) -> None:
    upload = await batches_client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("f", b"{}")})
    body = {"input_file_id": upload.json()["id"], "endpoint": "/v1/judge", **fields}
    answer = await batches_client.post("/v1/batches", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param
    assert "another value" not in answer.json()["error"]["message"]


async def test_names_that_no_database_can_hold_name_nothing(batches_client: httpx.AsyncClient) -> None:
    for path in ("/v1/files/%00", "/v1/files/%00/content", "/v1/batches/%00"):
        assert (await batches_client.get(path)).status_code == 404
    for query in ("after=%00", "purpose=%00"):
        assert (await batches_client.get(f"/v1/files?{query}")).json()["data"] == []
    body = {"input_file_id": "\0", "endpoint": "/v1/judge"}
    assert (await batches_client.post("/v1/batches", json=body)).status_code == 422
    kind = {"Content-Type": "application/json"}
    for content in (b"\xa5", b"", b"[1"):
        answer = await batches_client.post("/v1/batches", content=content, headers=kind)
        assert answer.json()["error"]["code"] == "invalid_json"


async def test_a_file_whose_name_has_half_of_a_surrogate_pair_is_kept_under_one_that_can_be_written(
    batches_client: httpx.AsyncClient,
) -> None:
    """In UTF-7, `+2AA-` is U+D800 alone, which no database can hold."""

    def build(field: str) -> httpx.Request:
        files = {field: ("rows+2AA-.jsonl", b"{}")}
        request = batches_client.build_request("POST", "/v1/files", data={"purpose": "batch"}, files=files)
        request.headers["Content-Type"] += "; charset=utf-7"
        return request

    kept = await batches_client.send(build("file"))
    assert (kept.status_code, kept.json()["filename"]) == (200, "rows?.jsonl")
    refused = await batches_client.send(build("+2AA-"))
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "?")


async def test_without_a_database_there_are_no_batches(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/v1/files"), ("GET", "/v1/batches"), ("GET", "/v1/files/file-1")):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_database")
