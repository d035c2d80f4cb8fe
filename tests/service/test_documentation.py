"""The page for people at `/docs`: it names everything, and needs nothing from elsewhere."""

from __future__ import annotations

import re

import httpx
import pytest

from genrm.types import Evidence, Reading
from service.schemas import JudgeRequest, JudgeResponse


@pytest.fixture
async def page(client: httpx.AsyncClient) -> str:
    """The page's source."""
    response = await client.get("/docs")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.headers["content-security-policy"].startswith("default-src 'none'")  # the browser keeps it to that
    return response.text


async def test_the_page_refers_to_no_other_host(page: str, client: httpx.AsyncClient) -> None:
    assert re.findall(r"""(?:href|src|action|srcset)\s*=\s*["']?([^"'\s>]+)""", page) == ["openapi.json"]
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(", page, re.IGNORECASE)
    assert (await client.get("/openapi.json")).status_code == 200


async def test_the_page_of_the_framework_that_needs_another_host_is_gone(client: httpx.AsyncClient) -> None:
    assert (await client.get("/redoc")).status_code == 404


async def test_the_page_names_every_route_and_every_field(page: str, client: httpx.AsyncClient) -> None:
    for path, operations in (await client.get("/openapi.json")).json()["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page
    asked, answered = page.split("<h3>Takes</h3>", 1)[1].split("<h3>Gives</h3>", 1)
    for name in JudgeRequest.model_fields:
        assert f"<dt><code>{name}</code>" in asked
    for name in {*JudgeResponse.model_fields, *Evidence.model_fields, *Reading.model_fields}:
        assert f"<dt><code>{name}</code>" in answered.split("<h2>")[0]
    for name in ("Idempotency-Key", "X-Request-Timeout-Seconds", "annotated"):
        assert f"<dt><code>{name}</code> (" in page
