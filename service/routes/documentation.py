"""`GET /docs`: the interface on one page that loads nothing from anywhere.

Not Swagger UI: the framework's page fetches it from another host, and this service must explain itself offline. Tools
read `/openapi.json`, from which this page is made.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem }}
p {{ white-space: pre-line }}
</style>
</head>
<body>
<h1>{title} {version}</h1>
<p>{description}</p>
<p>Every schema and every error with an example, for tools: <a href="openapi.json">openapi.json</a></p>
{routes}
</body>
</html>
"""


@router.get("/docs", response_class=HTMLResponse)
async def show_documentation(request: Request) -> HTMLResponse:
    """All routes with what they do, and the fields of their bodies."""
    document = request.app.openapi()
    info = {name: _render_text(document["info"][name]) for name in ("title", "version", "description")}
    page = _PAGE.format(**info, routes="\n".join(_render_routes(document)))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def _render_routes(document: Mapping[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code> – {_render_text(operation['summary'])}</h2>"
            yield f"<p>{_render_text(operation.get('description', ''))}</p>"
            if body := operation.get("requestBody"):
                schema = next(iter(body["content"].values()))["schema"]  # JSON, where there is JSON
                name = schema.get("$ref", "").rpartition("/")[2]
                yield from _render_fields(document["components"]["schemas"][name] if name else schema)


def _render_fields(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "<dl>"
    for name, field in schema["properties"].items():
        needed = " (required)" if name in schema.get("required", ()) else ""
        yield f"<dt><code>{escape(name)}</code>{needed}</dt><dd>{_render_text(field.get('description', ''))}</dd>"
    yield "</dl>"


def _render_text(text: str) -> str:
    """HTML of a text in which backticks enclose code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
