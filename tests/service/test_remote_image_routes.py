"""Remote pictures over HTTP: every route that takes pictures takes them, and by default none does."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from experts.fake import FakeExpert
from experts.panel import ExpertPanel
from genrm.engines.fake import FakeEngine
from service.app import create_app
from service.errors import StartError
from service.remote_image import ImageFetcher
from service.remote_url import parse_allowed_hosts
from service.settings import load_settings

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, MakeImage, OpenApp, OpenSite, Site

NAME = "images.example.com"
OpenFetching = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def open_fetching() -> OpenFetching:
    """Starts an application that fetches from one site, and gives an HTTP client of it."""

    @asynccontextmanager
    async def open_(site: Site, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
        async def resolve(host: str, port: int) -> list[str]:
            del host, port
            return ["127.0.0.1"]

        fetcher = ImageFetcher(
            parse_allowed_hosts(f"http://{NAME}:{site.port}"),
            timeout_seconds=20,
            max_total_bytes=10**6,
            resolve=resolve,
            may_connect=lambda _: True,
        )
        panel = ExpertPanel([FakeExpert({"dog": 1})], timeout_seconds=20)
        app = create_app(load_settings(**settings), lambda *_: FakeEngine(), lambda *_: panel, fetcher)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
        ):
            await app.state.lifecycle.wait_until_loaded()
            yield client

    return open_


def serve_picture(picture: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(picture)}\r\n\r\n".encode() + picture


async def test_a_judgement_takes_remote_pictures(
    open_site: OpenSite, open_fetching: OpenFetching, make_image: MakeImage, make_body: MakeBody
) -> None:
    async def answer_late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(serve_picture(make_image()))

    async with open_site(answer_late) as site, open_fetching(site) as client:
        url = f"http://{NAME}:{site.port}/a.png"
        verdict = await client.post("/v1/judge", json=make_body() | {"image": {"url": url}})
        assert verdict.status_code == 200, verdict.text
        assert verdict.json()["timings_ms"]["media"] >= 100  # fetching is part of it
        body = {**make_body(), "images": [{"url": url}, make_body()["image"]]}
        del body["image"]
        assert (await client.post("/v1/judge", json=body)).status_code == 200
    assert len(site.heads) == 2


async def test_a_remote_picture_is_judged_as_the_same_picture_sent(
    open_site: OpenSite, open_fetching: OpenFetching, make_image: MakeImage, make_body: MakeBody
) -> None:
    async with open_site(serve_picture(make_image())) as site, open_fetching(site) as client:
        sent = (await client.post("/v1/judge", json=make_body())).json()
        remote = {"image": {"url": f"http://{NAME}:{site.port}/"}}
        fetched = (await client.post("/v1/judge", json=make_body() | remote)).json()
    assert fetched["probabilities"] == sent["probabilities"]
    assert fetched["critique"] == sent["critique"]


async def test_a_stream_takes_remote_pictures_and_refuses_before_it_begins(
    open_site: OpenSite, open_fetching: OpenFetching, make_image: MakeImage, make_body: MakeBody
) -> None:
    answers = {
        "/a": serve_picture(make_image()),
        "/b": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    }
    async with open_site(answers) as site, open_fetching(site) as client:
        good, bad = ({"image": {"url": f"http://{NAME}:{site.port}{path}"}} for path in answers)
        stream = await client.post("/v1/judge", json=make_body(stream=True) | good)
        assert "event: verdict" in stream.text
        refused = await client.post("/v1/judge", json=make_body(stream=True) | bad)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (422, "remote_image_failed", "image.url")
    assert f"The image's host {NAME} answered with status 404" in error["message"]


async def test_a_verification_and_a_ranking_take_remote_pictures(
    open_site: OpenSite, open_fetching: OpenFetching, make_image: MakeImage
) -> None:
    async with open_site(serve_picture(make_image())) as site, open_fetching(site) as client:
        url = f"http://{NAME}:{site.port}/"
        verified = await client.post("/v1/verify", json={"text": "A dog.", "image": {"url": url}})
        assert verified.status_code == 200, verified.text

        def ask(url: str) -> dict[str, object]:
            parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
            return {"query": {"content": parts}, "documents": ["A dog.", "A cat."]}

        ranked = await client.post("/v1/rerank", json=ask(url))
        assert ranked.status_code == 200, ranked.text
        assert len(ranked.json()["results"]) == 2
        refused = (await client.post("/v1/rerank", json=ask("https://evil.example/"))).json()["error"]
    assert (refused["code"], refused["param"]) == ("remote_image_refused", "query.content[1].image_url.url")
    assert len(site.heads) == 2


async def test_the_time_of_a_request_holds_for_its_fetches(
    open_site: OpenSite, open_fetching: OpenFetching, make_body: MakeBody
) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with open_site(hang) as site, open_fetching(site) as client:
        late = await client.post(
            "/v1/judge",
            json=make_body() | {"image": {"url": f"http://{NAME}:{site.port}/"}},
            headers={"X-Request-Timeout-Seconds": "0.2"},
        )
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/rerank"])
async def test_by_default_nothing_is_resolved_and_the_setting_is_named(
    client: httpx.AsyncClient, make_body: MakeBody, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked: list[object] = []

    def note(*wanted: object, **_: object) -> list[object]:
        asked.append(wanted)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", note)
    monkeypatch.setattr(socket.socket, "connect", note)
    for url in ("https://example.com/dog.png", "http://localhost/", "http://127.0.0.1/", "https:/\\a@b"):
        body = {"judge": make_body(), "rerank": {"query": "Which?", "documents": ["a", "b"]}}[path.rpartition("/")[2]]
        error = (await client.post(path, json=body | {"image": {"url": url}})).json()["error"]
        assert (error["code"], error["param"]) == ("remote_image_refused", "image.url")
        assert "fetches nothing" in error["message"]
        assert "GENRM_IMAGE_HOSTS" in error["message"]
    assert asked == []


async def test_the_environment_s_list_is_the_one_that_counts(
    open_app: OpenApp, make_body: MakeBody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENRM_IMAGE_HOSTS", "images.example.com, *.example.net")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("10.0.0.1", 443))])
    async with open_app() as client:
        codes = [
            (await client.post("/v1/judge", json=make_body() | {"image": {"url": f"https://{host}/a.png"}})).json()
            for host in (NAME, "a.example.net", "example.net", "www.example.com")
        ]
    assert [answer["error"]["code"] for answer in codes] == ["remote_image_failed"] * 2 + ["remote_image_refused"] * 2


async def test_the_fetcher_ends_with_the_application(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[ImageFetcher] = []

    def close(fetcher: ImageFetcher) -> None:
        closed.append(fetcher)

    monkeypatch.setattr(ImageFetcher, "close", close)
    async with open_app():
        assert closed == []
    assert len(closed) == 1


def test_a_list_that_cannot_be_read_keeps_the_service_from_starting() -> None:
    with pytest.raises(StartError, match=r"GENRM_IMAGE_HOSTS is '\*'; '\*' is no host"):
        create_app(load_settings(image_hosts="*"))


@pytest.mark.parametrize("seconds", [0, -1, "nan"])
def test_a_time_that_makes_no_sense_keeps_the_service_from_starting(seconds: object) -> None:
    with pytest.raises(StartError, match="GENRM_IMAGE_FETCH_TIMEOUT_SECONDS"):
        load_settings(image_fetch_timeout_seconds=seconds)


async def test_the_description_says_when_a_remote_url_is_taken(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert "GENRM_IMAGE_HOSTS" in document["components"]["schemas"]["ImageInput"]["properties"]["url"]["description"]
    refusals = json.dumps(document["paths"]["/v1/judge"]["post"]["responses"]["422"])
    assert "remote_image_failed" in refusals
