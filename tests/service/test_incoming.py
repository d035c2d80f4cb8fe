"""JSON bodies of very many values: refused before a parser builds them, while texts may look as they like."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from service import incoming
from service.schemas import ErrorBody, JudgeRequest

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody

JSON = {"Content-Type": "application/json"}
TEXTS = '"question": "q", "response_a": "a", "response_b": "b"'


@pytest.mark.parametrize(
    "body",
    [
        f'{{{TEXTS}, "images": [{",".join("1" * 5_000)}]}}',
        f'{{{TEXTS}, "images": {"[" * 5_000}',
        json.dumps({f"k{i}": 1 for i in range(5_000)}),
        f'{{{TEXTS}, "x": [{",".join(["[]"] * 1_000_000)}]}}',
        '"' * 1_000_000,
    ],
    ids=["images", "depth", "keys", "values", "quotes"],
)
async def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the body was parsed")

    monkeypatch.setattr(JudgeRequest, "model_validate_json", fail)
    response = await client.post("/v1/judge", content=body, headers=JSON)
    error = ErrorBody.model_validate_json(response.content).error
    assert (response.status_code, error.code) == (413, "body_too_large")
    assert "4,000" in error.message


async def test_a_thousand_images_are_refused_for_their_number(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    images = [{"url": "data:image/png;base64,AAAA"}] * 1_000
    response = await client.post("/v1/judge", json=make_body(images=images) | {"image": None})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_many_images")


@pytest.mark.parametrize("sign", [",", "[", "{", '"'])
async def test_texts_within_their_limit_may_be_full_of_signs(
    client: httpx.AsyncClient, make_body: MakeBody, sign: str
) -> None:
    body = make_body(question=sign * 20_000, response_a=sign * 19_999 + "a", response_b=sign * 20_000)
    assert (await client.post("/v1/judge", json=body)).status_code == 200


@given(st.recursive(st.none() | st.booleans() | st.integers(), lambda inner: st.lists(inner) | st.tuples(inner)))
def test_signs_outside_of_strings_are_all_counted(value: JsonValue) -> None:
    body = json.dumps({"x": value, "y": "z"}).encode()
    bare = body.replace(b'"x"', b"").replace(b'"y"', b"").replace(b'"z"', b"")
    assert incoming._JSON_STRING.sub(b"", body) == bare


@given(st.text())
def test_signs_inside_of_strings_are_not_counted(text: str) -> None:
    for body in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        assert incoming._JSON_STRING.sub(b"", body.encode("utf-8", "surrogatepass")) == b""
