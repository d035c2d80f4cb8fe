"""Models that requests choose: a server's others, and adapters that are loaded, replaced and refused over HTTP, on an
engine without a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from genrm.engines.contract import Engine
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError, ModelLoadError
from genrm.prompts import PROMPT_VERSION

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody

OpenApp = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class LocalFake(FakeEngine):
    """A fake engine whose model lies in a folder."""

    def __init__(self, model: str, weights: Path) -> None:
        super().__init__(model=model)
        self.weights = str(weights)


class AdaptableFake(LocalFake):
    """An engine that takes any folder for an adapter but one called `bad`."""

    async def load_adapter(self, source: str, *, name: str) -> Engine:
        """Another fake engine."""
        if Path(source).name == "bad":
            raise ModelLoadError(f"{source}/adapter_config.json says rank 0.")
        return LocalFake(name, Path(source))


class ServerFake(FakeEngine):
    """An engine in front of a server that lists models."""

    def __init__(self, listed: list[str]) -> None:
        super().__init__(model="first")
        self.listed = listed
        self.is_down = False

    async def list_models(self) -> Sequence[str]:
        """What the test says."""
        if self.is_down:
            raise EngineError("down")
        return list(self.listed)

    def for_model(self, name: str) -> Engine:
        """Another fake engine."""
        return FakeEngine(model=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two adapters, one of which no engine takes."""
    for name in ("good", "bad", "calibrated", "miscalibrated"):
        (tmp_path / name).mkdir()
    (tmp_path / "calibrated" / "calibration.json").write_text(
        json.dumps({"prompt_version": PROMPT_VERSION, "temperatures": {"critique": 2.0}})
    )
    (tmp_path / "miscalibrated" / "calibration.json").write_text("{")
    return tmp_path


def load(name: str, path: str, **fields: Any) -> dict[str, Any]:
    return {"lora_name": name, "lora_path": path, **fields}


async def list_ids(client: httpx.AsyncClient) -> list[str]:
    return [card["id"] for card in (await client.get("/v1/models")).json()["data"]]


async def test_an_adapter_is_loaded_listed_chosen_and_unloaded(
    open_app: OpenApp, folder: Path, make_body: MakeBody
) -> None:
    async with open_app(AdaptableFake("base", folder), adapter_folder=str(folder)) as client:
        answer = await client.post("/v1/load_lora_adapter", json=load("x", "good"))
        assert answer.status_code == 200
        card = answer.json()
        assert (card["id"], card["root"], card["parent"], card["object"]) == ("x", "good", "base", "model")
        listed = (await client.get("/v1/models")).json()["data"]
        assert [(each["id"], each["root"], each["parent"]) for each in listed] == [
            ("base", "base", None),
            ("x", "good", "base"),
        ]
        verdict = (await client.post("/v1/judge", json=make_body(model="x"))).json()
        assert verdict["model"] == "x"
        assert (await client.post("/v1/judge", json=make_body())).json()["model"] == "base"
        assert (await client.post("/v1/judge", json=make_body(model="base"))).json()["model"] == "base"
        answer = await client.post("/v1/unload_lora_adapter", json={"lora_name": "x"})
        assert answer.json() == {"id": "x", "object": "model", "deleted": True}
        refusal = await client.post("/v1/judge", json=make_body(model="x"))
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (404, "model_not_found")
        assert "served: base." in refusal.json()["error"]["message"]


async def test_adapters_of_the_settings_are_there_from_the_start(open_app: OpenApp, folder: Path) -> None:
    async with open_app(AdaptableFake("base", folder), adapters=f"x={folder}/good,y=some/hub-id") as client:
        listed = (await client.get("/v1/models")).json()["data"]
        assert [(each["id"], each["root"]) for each in listed] == [
            ("base", "base"),
            ("x", "good"),
            ("y", "some/hub-id"),
        ]


@pytest.mark.parametrize(
    ("engine", "adapters", "why"),
    [
        (AdaptableFake("base", Path()), "x={folder}/bad", "says rank 0"),
        (AdaptableFake("base", Path()), "base={folder}/good", "the name of the model"),
        (FakeEngine(), "x={folder}/good", "takes no adapters"),
    ],
)
async def test_an_adapter_of_the_settings_that_cannot_be_served_keeps_the_service_from_starting(
    engine: Engine, adapters: str, why: str, open_app: OpenApp, folder: Path
) -> None:
    async with open_app(engine, wait=False, adapters=adapters.format(folder=folder)) as client:
        health = {"status": "loading", "detail": ""}
        while health["status"] == "loading":
            health = (await client.get("/readyz")).json()
    assert health["status"] == "failed"
    assert "The adapter '" in health["detail"]
    assert why in health["detail"]


@pytest.mark.parametrize("route", ["load", "unload"])
async def test_without_a_folder_nothing_is_loaded_on_request(route: str, open_app: OpenApp, folder: Path) -> None:
    async with open_app(AdaptableFake("base", folder), adapters=f"x={folder}/good") as client:
        answer = await client.post(f"/v1/{route}_lora_adapter", json=load("x", "good"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_adapter_folder")
        assert await list_ids(client) == ["base", "x"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (load("y", "bad"), 422, "adapter_refused", "lora_path"),
        (load("y", "miscalibrated"), 422, "adapter_refused", "lora_path"),
        (load("x", "bad", load_inplace=True), 422, "adapter_refused", "lora_path"),
        (load("y", "../elsewhere"), 422, "invalid_value", "lora_path"),
        (load("y", "none"), 422, "invalid_value", "lora_path"),
        (load("x", "good"), 422, "invalid_value", "lora_name"),
        (load("base", "good", load_inplace=True), 422, "invalid_value", "lora_name"),
        (load("", "good"), 422, "invalid_value", "lora_name"),
        (load("a\nb", "good"), 422, "invalid_value", "lora_name"),
        (load("y", "good", load_inplace="yes"), 422, "invalid_value", "load_inplace"),
        (load("y", "good", pickle=True), 422, "unknown_field", "pickle"),
        ({"lora_name": "y"}, 422, "missing_field", "lora_path"),
        ([], 422, "invalid_value", None),
    ],
)
async def test_what_cannot_be_loaded_is_refused_and_nothing_changes(
    body: Any, status: int, code: str, param: str | None, open_app: OpenApp, folder: Path
) -> None:
    async with open_app(AdaptableFake("base", folder), adapter_folder=str(folder)) as client:
        assert (await client.post("/v1/load_lora_adapter", json=load("x", "good"))).status_code == 200
        before = (await client.get("/v1/models")).json()
        answer = await client.post("/v1/load_lora_adapter", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
        assert str(folder) not in error["message"]
        assert (await client.get("/v1/models")).json() == before


async def test_no_more_adapters_than_the_limit_are_loaded_but_one_may_be_replaced(
    open_app: OpenApp, folder: Path
) -> None:
    async with open_app(AdaptableFake("base", folder), adapter_folder=str(folder), max_adapters=1) as client:
        for body, status in (
            (load("x", "good"), 200),
            (load("y", "good"), 422),
            (load("x", "calibrated", load_inplace=True), 200),
        ):
            assert (await client.post("/v1/load_lora_adapter", json=body)).status_code == status
        listed = (await client.get("/v1/models")).json()["data"]
        assert [card["root"] for card in listed] == ["base", "calibrated"]


@pytest.mark.parametrize("name", ["base", "nobody"])
async def test_only_an_adapter_that_is_there_can_be_unloaded(name: str, open_app: OpenApp, folder: Path) -> None:
    async with open_app(AdaptableFake("base", folder), adapter_folder=str(folder)) as client:
        answer = await client.post("/v1/unload_lora_adapter", json={"lora_name": name})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "lora_name")


async def test_an_adapter_has_its_own_calibration_and_never_the_model_s(
    open_app: OpenApp, folder: Path, make_body: MakeBody
) -> None:
    """As with `GENRM_ADAPTER`: what was fitted for other weights does not hold."""
    async with open_app(
        AdaptableFake("base", folder / "calibrated"), adapters=f"own={folder}/calibrated,none={folder}/good"
    ) as client:
        used = {
            name: (await client.post("/v1/judge", json=make_body(model=name))).json()["calibration_temperature"]
            for name in ("base", "own", "none")
        }
    assert used == {"base": 2.0, "own": 2.0, "none": 1.0}


async def test_a_ranking_is_made_by_the_model_that_it_names(
    open_app: OpenApp, folder: Path, make_body: MakeBody
) -> None:
    body = {"query": "Which?", "documents": ["a", "b"], "image": make_body()["image"]}
    async with open_app(AdaptableFake("base", folder), adapters=f"x={folder}/good") as client:
        assert (await client.post("/v1/rerank", json={**body, "model": "x"})).json()["model"] == "x"
        assert (await client.post("/v1/rerank", json=body)).json()["model"] == "base"
        assert (await client.post("/v1/rerank", json={**body, "model": "y"})).status_code == 404


async def test_every_model_that_a_server_lists_may_be_chosen_also_one_that_came_later(
    open_app: OpenApp, make_body: MakeBody, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ServerFake(["first", "second"])
    async with open_app(engine) as client:
        assert await list_ids(client) == ["first", "second"]
        assert (await client.post("/v1/judge", json=make_body(model="second"))).json()["model"] == "second"
        engine.listed.append("third")
        assert (await client.post("/v1/judge", json=make_body(model="third"))).status_code == 404  # asked just now
        monkeypatch.setattr("service.served_models._MIN_REFRESH_SECONDS", 0.0)
        assert (await client.post("/v1/judge", json=make_body(model="third"))).json()["model"] == "third"
        engine.is_down = True
        assert await list_ids(client) == ["first", "second", "third"]
        answer = await client.post("/v1/unload_lora_adapter", json={"lora_name": "second"})
        assert answer.json()["error"]["code"] == "no_adapter_folder"
