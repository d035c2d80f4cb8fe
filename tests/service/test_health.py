"""Health over a service's life: loading, ready, stalled, stopping, failed; and what is refused meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from genrm.engines.fake import FakeEngine
from genrm.engines.progress import EngineStats
from genrm.errors import ModelLoadError
from service.app import create_app
from service.lifecycle import Lifecycle
from service.observation import count_waiting, describe_placement, find_stall_seconds, has_died
from service.settings import load_settings

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, OpenApp


class SlowToStart(FakeEngine):
    """Loads until it is told to have loaded, or to fail."""

    def __init__(self, *, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.may_start = asyncio.Event()

    async def start(self) -> None:
        """Wait, then fail if so wished."""
        await self.may_start.wait()
        if self.error is not None:
            raise self.error


@dataclass
class Place:
    """Where an observed engine runs."""

    reason: str = "device cpu (no accelerator was found)"


class ObservedEngine(FakeEngine):
    """Tells how it does, as the in-process engine."""

    placement = Place()
    has_died = False
    stalled_seconds = 0.0

    def seconds_since_progress(self) -> float:
        """As set by the test."""
        return self.stalled_seconds

    def stats(self) -> EngineStats:
        """Three rows wait."""
        return EngineStats(num_waiting_rows=3)


async def wait_for_the_end_of_loading(client: httpx.AsyncClient) -> httpx.Response:
    for _ in range(1000):
        response = await client.get("/readyz")
        if response.json()["status"] != "loading":
            return response
        await asyncio.sleep(0.01)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("url", ["/livez", "/readyz", "/health"])
async def test_a_loaded_service_is_healthy(client: httpx.AsyncClient, url: str) -> None:
    response = await client.get(url)
    assert (response.status_code, response.json()) == (200, {"status": "ok", "detail": ""})


async def test_while_the_model_loads_the_service_is_alive_and_not_ready(open_app: OpenApp, make_body: MakeBody) -> None:
    engine = SlowToStart()
    async with open_app(engine, wait=False, model="some/model") as client:
        assert (await client.get("/livez")).status_code == 200
        for url in ("/readyz", "/health"):
            response = await client.get(url)
            assert (response.status_code, response.json()["status"]) == (503, "loading")
            assert "some/model" in response.json()["detail"]
        assert (await client.get("/v1/models")).json()["data"] == []
        refused = await client.post("/v1/judge", json=make_body())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert refused.headers["Retry-After"] == "2"
        engine.may_start.set()
        assert (await wait_for_the_end_of_loading(client)).status_code == 200
        assert (await client.post("/v1/judge", json=make_body())).status_code == 200


async def test_a_model_that_cannot_be_loaded_is_named_with_the_remedy(open_app: OpenApp) -> None:
    engine = SlowToStart(error=ModelLoadError("The folder /models/x is empty. Name another one."))
    engine.may_start.set()
    async with open_app(engine, wait=False) as client:
        await wait_for_the_end_of_loading(client)
        for url in ("/readyz", "/livez"):
            response = await client.get(url)
            assert (response.status_code, response.json()["status"]) == (503, "failed")
            assert "The folder /models/x is empty" in response.json()["detail"]


async def test_an_unforeseen_failure_to_load_is_not_told_to_the_network(
    open_app: OpenApp, caplog: pytest.LogCaptureFixture
) -> None:
    engine = SlowToStart(error=RuntimeError("secret detail"))
    engine.may_start.set()
    async with open_app(engine, wait=False) as client:
        response = await wait_for_the_end_of_loading(client)
    assert "secret" not in response.text
    assert "secret detail" in caplog.text


async def test_waiting_for_the_model_raises_what_kept_it_from_loading() -> None:
    engine = SlowToStart(error=ModelLoadError("no such folder."))
    engine.may_start.set()
    lifecycle = Lifecycle(load_settings(), lambda: engine)
    await lifecycle.load()
    with pytest.raises(ModelLoadError, match="no such folder"):
        await lifecycle.wait_until_loaded()


async def test_from_the_stop_signal_on_nothing_new_is_taken(make_body: MakeBody) -> None:
    app = create_app(load_settings(), lambda *_: FakeEngine(), lambda *_: None)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        await app.state.lifecycle.wait_until_loaded()
        app.state.lifecycle.stop_accepting()
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
        assert (await client.get("/livez")).status_code == 200
        refused = await client.post("/v1/judge", json=make_body())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert refused.headers["Retry-After"] == "1"


async def test_a_model_that_is_loaded_after_the_stop_signal_is_not_used() -> None:
    engine = SlowToStart()
    lifecycle = Lifecycle(load_settings(), lambda: engine)
    loading = asyncio.create_task(lifecycle.load())
    await asyncio.sleep(0)
    lifecycle.stop_accepting()
    engine.may_start.set()
    await loading
    assert lifecycle.phase == "stopping"


async def test_a_model_that_fails_to_load_after_the_stop_signal_changes_nothing() -> None:
    engine = SlowToStart(error=ModelLoadError("no such folder."))
    lifecycle = Lifecycle(load_settings(), lambda: engine)
    loading = asyncio.create_task(lifecycle.load())
    await asyncio.sleep(0)
    lifecycle.stop_accepting()
    engine.may_start.set()
    await loading
    assert (lifecycle.phase, lifecycle.error) == ("stopping", None)


async def test_an_expert_that_cannot_be_loaded_is_not_taken_for_the_model() -> None:
    def fail() -> None:
        raise ModelLoadError("Expert detector: no such folder.")

    lifecycle = Lifecycle(load_settings(), FakeEngine, fail)
    await lifecycle.load()
    health = lifecycle.check_readiness()
    await lifecycle.close()
    assert health.detail == "A vision expert could not be loaded. Expert detector: no such folder."


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://judge:top-secret@gpu:8001/v1?key=top-secret", "http://gpu:8001/v1"),
        ("judge:top-secret@gpu:8001", "gpu:8001"),
        ("http://judge:top-s@cret:/?top-secret@gpu/v1", "http://gpu/v1"),
        ("http://gpu:8001/v1", "http://gpu:8001/v1"),
    ],
)
def test_readiness_names_a_server_without_its_credentials(url: str, shown: str) -> None:
    health = Lifecycle(load_settings(engine_url=url), FakeEngine).check_readiness()
    assert health.detail == f"The model ({shown}) is not loaded yet."


async def test_the_end_of_the_application_closes_the_engine(open_app: OpenApp) -> None:
    engine = FakeEngine()
    async with open_app(engine):
        assert not engine._closed
    assert engine._closed


async def test_a_worker_that_has_work_and_does_nothing_is_not_alive(open_app: OpenApp) -> None:
    engine = ObservedEngine()
    async with open_app(engine, max_stall_seconds=60) as client:
        engine.stalled_seconds = 59
        assert (await client.get("/livez")).status_code == 200
        engine.stalled_seconds = 61
        response = await client.get("/livez")
    assert (response.status_code, response.json()["status"]) == (503, "stalled")
    assert "GENRM_MAX_STALL_SECONDS" in response.json()["detail"]


async def test_a_worker_that_has_ended_is_neither_ready_nor_alive(open_app: OpenApp) -> None:
    engine = ObservedEngine()
    async with open_app(engine) as client:
        engine.has_died = True
        for url in ("/readyz", "/livez"):
            response = await client.get(url)
            assert (response.status_code, response.json()["status"]) == (503, "failed")
            assert "Restart this replica" in response.json()["detail"]


async def test_the_start_line_names_model_place_and_address() -> None:
    lifecycle = Lifecycle(load_settings(), ObservedEngine)
    await lifecycle.load()
    line = lifecycle.describe_start("http://127.0.0.1:8000")
    assert line == (
        "fake is ready at http://127.0.0.1:8000 (documentation: http://127.0.0.1:8000/docs); "
        "device cpu (no accelerator was found); vision experts: none."
    )


async def test_of_an_engine_that_does_not_tell_nothing_is_claimed() -> None:
    assert find_stall_seconds(FakeEngine()) == 0
    assert find_stall_seconds(None) == 0
    assert count_waiting(FakeEngine()) == 0
    assert not has_died(FakeEngine())
    assert "unknown" in describe_placement(FakeEngine())


async def test_what_waits_is_asked_of_the_engine(open_app: OpenApp) -> None:
    async with open_app(ObservedEngine()) as client:
        assert "genrm_requests_waiting 3.0" in (await client.get("/metrics")).text
