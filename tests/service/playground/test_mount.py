"""Who gets to the playground, what is to be had below its path, and that the rest of the service stays as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from genrm.engines.fake import FakeEngine
from service import app as application
from service.client import AsyncClient
from service.errors import StartError
from service.playground import mount
from service.playground.script import put_first
from service.playground.transport import InProcessTransport
from service.playground.uploads import UploadFolder
from service.playground.visitor import COOKIE
from service.schemas import CritiqueDelta, JudgeResponse
from service.settings import Settings, load_settings

if TYPE_CHECKING:
    from tests.service.conftest import MakeImage, OpenApp

KEYS = "alice:sesame-key-of-alice,bob:other-key-of-bob-1"


class PlainPage:
    """Stands where Gradio's application would; says what it was asked for."""

    folders = (Path(__file__).parent.resolve(),)

    def __init__(self, uploads: UploadFolder) -> None:
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the path."""
        await PlainTextResponse(scope["path"])(scope, receive, send)

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to stop."""


@pytest.fixture
def plain_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A page without Gradio, so that these tests need none of it. Its uploads go into `tmp_path`."""

    async def build(app: ASGIApp, settings: Settings) -> PlainPage:
        del app
        return PlainPage(UploadFolder(tmp_path, settings.playground_max_bytes))

    monkeypatch.setattr(application, "import_and_build_page", build)
    monkeypatch.setattr(mount, "is_installed", lambda: True)


@pytest.fixture
async def keyed(open_app: OpenApp, plain_page: None) -> AsyncIterator[httpx.AsyncClient]:
    """A service that wants keys."""
    async with open_app(playground="on", api_keys=KEYS) as http:
        yield http


@pytest.mark.usefixtures("plain_page")
async def test_the_page_is_at_playground_with_and_without_its_slash(open_app: OpenApp) -> None:
    async with open_app(playground="on") as http:
        assert (await http.get("/playground/")).text == "/playground/"
        redirect = await http.get("/playground")
        assert redirect.is_redirect
        assert (await http.get("/playground", follow_redirects=True)).text == "/playground/"


@pytest.mark.parametrize(("body", "expected"), [("<head><title>", "<head>FIRST<title>"), ("<body>", "<body>")])
async def test_a_script_is_put_at_the_beginning_of_the_head(body: str, expected: str) -> None:
    app = put_first(StreamingResponse(iter((body[:3], body[3:])), headers={"Content-Length": str(len(body))}), "FIRST")
    async with httpx.AsyncClient(base_url="http://x", transport=httpx.ASGITransport(app)) as http:
        answer = await http.get("/")
        assert (answer.text, answer.headers["content-length"]) == (expected, str(len(expected)))


@pytest.mark.usefixtures("plain_page")
async def test_no_other_host_may_take_part(open_app: OpenApp) -> None:
    async with open_app(playground="on") as http:
        policy = (await http.get("/playground/")).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "*" not in policy


@pytest.mark.parametrize(
    "path",
    [
        *("monitoring", "docs", "openapi.json", "login"),
        *("gradio_api/proxy=https://example.com", "gradio_api/runs", "gradio_api/deep_link", "gradio_api/vibe-edit"),
        *("gradio_api/file=https://example.com/x.png", "gradio_api/file=http://127.0.0.1/x"),
        *("gradio_api/dev/reload", "gradio_api/openapi.json", "gradio_api/heartbeat/x"),
    ],
)
@pytest.mark.usefixtures("plain_page")
async def test_what_the_page_does_not_need_does_not_exist(open_app: OpenApp, path: str) -> None:
    async with open_app(playground="on") as http:
        answer = await http.get(f"/playground/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.usefixtures("plain_page")
async def test_the_schema_lists_nothing_of_the_playground(open_app: OpenApp) -> None:
    async with open_app(playground="on") as http, open_app(playground="off") as without:
        assert (await http.get("/openapi.json")).json() == (await without.get("/openapi.json")).json()


async def test_switched_off_there_is_nothing_there(open_app: OpenApp) -> None:
    async with open_app(playground="off") as http:
        for path in ("/playground", "/playground/", "/playground/sign-in"):
            assert (await http.get(path)).status_code == 404


async def test_switched_off_its_path_is_no_way_around_the_keys(open_app: OpenApp) -> None:
    async with open_app(playground="off", api_keys=KEYS) as http:
        assert (await http.get("/playground/")).status_code == 401


@pytest.mark.parametrize("path", ["config", "assets/index.js", "gradio_api/queue/join", "gradio_api/file=/etc/passwd"])
async def test_without_a_key_nothing_of_it_is_to_be_had(keyed: httpx.AsyncClient, path: str) -> None:
    answer = await keyed.get(f"/playground/{path}")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "missing_api_key"


async def test_without_a_key_the_page_asks_for_one(keyed: httpx.AsyncClient) -> None:
    answer = await keyed.get("/playground/")
    assert answer.status_code == 200
    assert 'type="password"' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_key_that_counts_opens_the_page_for_this_browser(keyed: httpx.AsyncClient) -> None:
    answer = await keyed.post("/playground/sign-in", data={"key": " sesame-key-of-alice "})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/playground" in cookie
    assert "sesame" not in cookie
    assert (await keyed.get("/playground/")).text == "/playground/"
    assert (await keyed.get("/v1/models")).status_code == 401  # the cookie is the page's alone
    await keyed.get("/playground/sign-out")
    assert 'type="password"' in (await keyed.get("/playground/")).text


@pytest.mark.parametrize("key", ["", "wrong", "x" * 10_000, "\x00", "ключ"])
async def test_a_key_that_does_not_count_opens_nothing(keyed: httpx.AsyncClient, key: str) -> None:
    answer = await keyed.post("/playground/sign-in", data={"key": key})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize("cookie", ["zz", "00", b"wrong".hex(), "sesame-key-of-alice"])
async def test_a_made_up_cookie_opens_nothing(keyed: httpx.AsyncClient, cookie: str) -> None:
    answer = await keyed.get("/playground/config", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer other-key-of-bob-1"}, {"X-Api-Key": "other-key-of-bob-1"}]
)
async def test_a_key_in_a_header_will_do(keyed: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await keyed.get("/playground/config", headers=headers)).status_code == 200


@pytest.mark.usefixtures("plain_page")
async def test_the_page_s_own_requests_are_one_route_of_the_metrics(open_app: OpenApp) -> None:
    async with open_app(playground="on") as http:
        await http.get("/playground/assets/one.js")
        series = (await http.get("/metrics")).text
    assert 'route="/playground"' in series
    assert "one.js" not in series


@pytest.mark.usefixtures("plain_page")
async def test_while_the_judge_loads_the_page_says_so_and_asks_again(open_app: OpenApp) -> None:
    class SlowEngine(FakeEngine):
        async def start(self) -> None:
            import asyncio

            await asyncio.Event().wait()

    async with open_app(SlowEngine(), wait=False, playground="on") as http:
        answer = await http.get("/playground/")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert "not loaded yet" in answer.text
    assert 'http-equiv="refresh"' in answer.text


def test_a_page_that_is_insisted_on_and_not_installed_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount, "is_installed", lambda: False)
    assert not mount.is_wanted(load_settings(playground="auto"))
    with pytest.raises(StartError, match=r"vl-genrm\[ui\]"):
        mount.is_wanted(load_settings(playground="on"))


@pytest.mark.parametrize(("setting", "starts"), [("auto", True), ("on", False)])
async def test_a_page_that_cannot_be_built_costs_the_service_only_where_it_is_insisted_on(
    open_app: OpenApp, plain_page: None, monkeypatch: pytest.MonkeyPatch, *, setting: str, starts: bool
) -> None:
    async def fail(app: ASGIApp, settings: Settings) -> PlainPage:
        raise ImportError("broken")

    monkeypatch.setattr(application, "import_and_build_page", fail)
    if starts:
        async with open_app(playground=setting) as http:
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/playground/")).status_code == 404
    else:
        with pytest.raises(StartError, match="GENRM_PLAYGROUND=off"):
            async with open_app(playground=setting):
                pass


@asynccontextmanager
async def open_inside(http: httpx.AsyncClient, key: str | None = None) -> AsyncIterator[AsyncClient]:
    """A client like the page's own."""
    inner: ASGIApp = http._transport.app  # type: ignore[attr-defined]
    async with AsyncClient("http://playground", api_key=key, transport=InProcessTransport(inner)) as client:
        yield client


async def test_requests_inside_the_process_stream(open_app: OpenApp, make_image: MakeImage) -> None:
    async with open_app(FakeEngine(delay_seconds=0.5)) as http, open_inside(http) as client:
        events = [event async for event in client.stream(make_image(), question="?", a="One.", b="Two.")]
        first = await anext(client.stream(make_image(), question="?", a="One.", b="Two."))
    assert isinstance(events[0], CritiqueDelta)
    assert isinstance(events[-1], JudgeResponse)
    assert isinstance(first, CritiqueDelta)


async def test_requests_inside_the_process_need_a_key_like_all_others(keyed: httpx.AsyncClient) -> None:
    from service.exchange import ServiceError

    async with open_inside(keyed) as client:
        with pytest.raises(ServiceError, match="API key"):
            await client.models()
    async with open_inside(keyed, "other-key-of-bob-1") as client:
        assert await client.models()


async def test_an_application_that_breaks_off_is_an_error_and_no_hang() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing."""

    async with httpx.AsyncClient(transport=InProcessTransport(broken), base_url="http://inside") as http:
        with pytest.raises(httpx.ReadError):
            await http.get("/")
    async with httpx.AsyncClient(transport=InProcessTransport(silent), base_url="http://inside") as http:
        with pytest.raises(httpx.ReadError):
            await http.get("/")


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/hostname", "https://example.com/x.png", "file:///etc/hostname", "relative", "/dev/zero"),
        *(f"{Path(__file__).parent}/../conftest.py", 7, {"path": "/etc/hostname"}, "/" + "x" * 5000, "/a\0b"),
    ],
)
@pytest.mark.usefixtures("plain_page")
async def test_a_call_that_names_a_file_of_others_is_refused_before_gradio_sees_it(
    open_app: OpenApp, path: object
) -> None:
    call = {"data": [[{"nested": {"path": path, "meta": {"_type": "gradio.FileData"}}}]], "fn_index": 0}
    async with open_app(playground="on") as http:
        answer = await http.post("/playground/gradio_api/queue/join", json=call)
    assert answer.status_code == 422
    assert "uploaded to this page" in answer.json()["error"]["message"]


@pytest.mark.usefixtures("plain_page")
async def test_an_idempotency_key_gives_nobody_the_answer_that_the_page_gave_another(
    open_app: OpenApp, tmp_path: Path
) -> None:
    path, header = "/playground/gradio_api/queue/join", {"Idempotency-Key": "4d7a-1"}
    alice = {**header, "Authorization": "Bearer sesame-key-of-alice"}
    async with open_app(playground="on", api_keys=KEYS, database_url=f"sqlite:///{tmp_path / 'genrm.db'}") as http:
        first = await http.post(path, json={"data": []}, headers=alice)
        stranger = await http.post(path, json={"data": []}, headers=header)
        again = await http.post(path, json={"data": []}, headers=alice)
    assert first.status_code == again.status_code == 200
    assert "Idempotent-Replayed" not in again.headers
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (401, "missing_api_key")


@pytest.mark.usefixtures("plain_page")
async def test_a_call_of_too_many_values_is_refused_before_it_is_parsed(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the body was parsed")

    body = b'{"data": [' + b"[]," * 5_000 + b"[]]}"
    async with open_app(playground="on") as http:
        monkeypatch.setattr("service.playground.file_guard.json", SimpleNamespace(loads=fail))
        answer = await http.post("/playground/gradio_api/queue/join", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.usefixtures("plain_page")
async def test_a_call_that_names_a_file_of_the_page_or_none_goes_through(open_app: OpenApp) -> None:
    async with open_app(playground="on") as http:
        for path in (str(PlainPage.folders[0] / "any.png"), None):
            answer = await http.post("/playground/gradio_api/queue/join", json={"data": [{"path": path}]})
            assert answer.text == "/playground/gradio_api/queue/join"
        for body in (b"no JSON", b"[" * 100 + b"]" * 100):
            assert (await http.post("/playground/gradio_api/queue/join", content=body)).status_code == 422


@pytest.mark.usefixtures("plain_page")
async def test_uploads_count_against_the_key(open_app: OpenApp) -> None:
    async with open_app(playground="on", api_keys=KEYS, requests_per_minute=1) as http:
        http.headers["Authorization"] = "Bearer sesame-key-of-alice"
        statuses = [(await http.post("/playground/gradio_api/upload", content=b"x")).status_code for _ in range(2)]
    assert statuses == [200, 429]


UPLOAD = "/playground/gradio_api/upload"
MIB = 2**20


@pytest.mark.usefixtures("plain_page")
async def test_a_full_playground_takes_no_more_and_says_when_it_will(open_app: OpenApp, tmp_path: Path) -> None:
    (tmp_path / "held").write_bytes(bytes(MIB - 1000))
    async with open_app(playground="on", playground_max_bytes=MIB) as http:
        assert (await http.post(UPLOAD, content=bytes(1000))).status_code == 200
        answer = await http.post(UPLOAD, content=bytes(1001))
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/plain")  # the page shows it as it is
        for part in ("1,001 bytes", "holds 1,047,576 of 1,048,576", "60 minutes", "GENRM_PLAYGROUND_MAX_BYTES"):
            assert part in answer.text
        assert 'reason="no_room"' in (await http.get("/metrics")).text
        assert 3500 < int(answer.headers["retry-after"]) <= 3602
        (tmp_path / "held").unlink()
        assert (await http.post(UPLOAD, content=bytes(1001))).status_code == 200


@pytest.mark.usefixtures("plain_page")
async def test_an_upload_that_will_never_have_room_is_told_so(open_app: OpenApp) -> None:
    async with open_app(playground="on", playground_max_bytes=MIB) as http:
        answer = await http.post(UPLOAD, content=bytes(MIB + 1))
    assert answer.status_code == 413
    for part in ("1,048,577 bytes", "1,048,576 in all", "GENRM_PLAYGROUND_MAX_BYTES"):
        assert part in answer.text


@pytest.mark.usefixtures("plain_page")
async def test_an_upload_that_does_not_say_its_length_needs_room_for_the_longest(open_app: OpenApp) -> None:
    async def pour() -> AsyncIterator[bytes]:
        yield b"x"

    async with open_app(playground="on", playground_max_bytes=MIB, max_file_bytes=2 * MIB) as http:
        assert (await http.post(UPLOAD, content=pour())).status_code == 413
    async with open_app(playground="on", playground_max_bytes=2 * MIB, max_file_bytes=MIB) as http:
        assert (await http.post(UPLOAD, content=pour())).status_code == 200


@pytest.mark.usefixtures("plain_page")
async def test_an_upload_over_its_own_limit_names_the_setting_of_files(open_app: OpenApp) -> None:
    async with open_app(playground="on", max_file_bytes=MIB) as http:
        answer = await http.post(UPLOAD, content=bytes(2 * MIB))
    assert answer.status_code == 413
    assert "raise GENRM_MAX_FILE_BYTES" in answer.json()["error"]["message"]


async def test_an_open_page_can_ask_which_process_it_looks_at(keyed: httpx.AsyncClient) -> None:
    assert (await keyed.get("/playground/alive")).status_code == 401
    keyed.headers["Authorization"] = "Bearer sesame-key-of-alice"
    answers = [await keyed.get("/playground/alive") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(answers[0].json()["id"]) == 16
    assert answers[0].headers["cache-control"] == "no-store"


async def test_gradio_s_page_takes_our_script_so_nobody_is_warned_of_it(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("gradio")
    page = await mount.import_and_build_page(PlainTextResponse("no service"), load_settings())
    await page.start()
    await page.close()
    assert "<head>" not in caplog.text
