"""The OpenAPI document: complete, with examples that the service itself accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args
from unittest.mock import Mock

import httpx
import pytest

from service import openapi
from service.errors import HTTP_STATUS, Code
from service.openapi import EXAMPLE_REQUEST, EXAMPLE_RESPONSE
from service.schemas import ErrorBody, JudgeRequest, JudgeResponse

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    """The service's own description."""
    answer: dict[str, Any] = (await client.get("/openapi.json")).json()
    return answer


def find_references(part: object) -> set[str]:
    """The names of all schemas that a part of the document refers to."""
    if isinstance(part, dict):
        own = {part["$ref"].rsplit("/", 1)[-1]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(find_references(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(find_references(value) for value in part))
    return set()


async def test_every_route_is_described(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        "/v1/judge",
        "/v1/rerank",
        "/v1/rewards/openrlhf",
        "/v1/verify",
        "/v1/files",
        "/v1/files/{file_id}",
        "/v1/files/{file_id}/content",
        "/v1/batches",
        "/v1/batches/{batch_id}",
        "/v1/batches/{batch_id}/cancel",
        "/v1/models",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
    }


async def test_every_schema_that_is_referred_to_is_there(document: dict[str, Any]) -> None:
    assert find_references(document) <= set(document["components"]["schemas"])


async def test_both_kinds_of_body_are_described(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/judge"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    schemas = document["components"]["schemas"]
    assert set(schemas["JudgeRequest"]["properties"]) == set(JudgeRequest.model_fields)
    assert schemas["JudgeRequest"]["additionalProperties"] is False
    assert schemas["JudgeForm"]["required"] == ["image", "question", "response_a", "response_b"]


async def test_every_example_request_is_one_that_the_service_takes(
    document: dict[str, Any], client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    examples = document["paths"]["/v1/judge"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) >= 2
    for example in examples.values():
        body = {**example["value"], "image": make_body()["image"]}  # the shown one is shortened
        assert (await client.post("/v1/judge", json=body)).status_code == 200


def test_the_example_verdict_is_one() -> None:
    verdict = JudgeResponse.model_validate(EXAMPLE_RESPONSE)
    assert list(EXAMPLE_RESPONSE) == list(JudgeResponse.model_fields)
    assert verdict.probabilities is not None
    assert verdict.margin == pytest.approx(verdict.probabilities.A - verdict.probabilities.B)
    assert verdict.confidence == pytest.approx(verdict.probabilities.A * verdict.label_mass, abs=0.01)


def test_the_example_request_fits_its_schema() -> None:
    JudgeRequest.model_validate(EXAMPLE_REQUEST)


@pytest.mark.parametrize("code", [code for code in get_args(Code) if HTTP_STATUS[code] != 499])
async def test_every_kind_of_error_has_an_example(document: dict[str, Any], code: Code) -> None:
    response = document["paths"]["/v1/judge"]["post"]["responses"][str(HTTP_STATUS[code])]
    example = response["content"]["application/json"]["examples"][code]["value"]
    assert ErrorBody.model_validate(example).error.code == code
    assert response["description"]


async def test_the_stream_is_described_beside_the_plain_answer(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/judge"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}
    assert "event: verdict" in content["text/event-stream"]["example"]
    assert content["text/event-stream"]["itemSchema"]["properties"]["event"]["enum"] == ["critique", "verdict", "error"]


async def test_a_stable_document_comes_back_each_time(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    assert (await client.get("/openapi.json")).json() == document


async def test_the_document_is_built_once_however_often_it_is_needed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers with 405 look into it, and building it would hold up every request that runs."""
    build = Mock(wraps=openapi._build_schemas)
    monkeypatch.setattr(openapi, "_build_schemas", build)
    for method, path in (("GET", "/v1/judge"), ("PUT", "/v1/files"), ("GET", "/openapi.json"), ("GET", "/docs")):
        assert (await client.request(method, path)).status_code in (200, 405)
    assert build.call_count == 1
