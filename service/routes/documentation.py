"""`GET /docs`: the interface on one page that loads nothing from anywhere.

Not Swagger UI: the framework's page fetches it from another host, and this service must explain itself offline. Tools
read `/openapi.json`, from which this page is made.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
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
    """All routes with what they do, their parameters, and the fields of what they take and give."""
    document = request.app.openapi()
    info = {name: _render_text(document["info"][name]) for name in ("title", "version", "description")}
    page = _PAGE.format(**info, routes="\n".join(_render_routes(document)))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def _render_routes(document: Mapping[str, Any]) -> Iterator[str]:
    schemas = document.get("components", {}).get("schemas", {})
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code> – {_render_text(operation['summary'])}</h2>"
            yield f"<p>{_render_text(operation.get('description', ''))}</p>"
            yield from _render_parameters(operation.get("parameters", ()))
            if body := operation.get("requestBody"):
                yield from _render_content("Takes", body["content"], schemas, sure="required")
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    yield from _render_content("Gives", answer.get("content", {}), schemas, sure="always")


def _render_parameters(parameters: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if parameters:
        yield "<h3>Parameters</h3><dl>"
        for each in parameters:
            yield f"<dt><code>{escape(each['name'])}</code> ({escape(each['in'])})</dt>"
            yield f"<dd>{_render_text(each.get('description', ''))}</dd>"
        yield "</dl>"


def _render_content(title: str, content: Mapping[str, Any], schemas: Mapping[str, Any], *, sure: str) -> Iterator[str]:
    """The fields of a body, in JSON if that is one of its formats. sure: said of those that are never left out."""
    formats: list[Mapping[str, Any]] = [content.get("application/json", {}), *content.values()]
    schema: Mapping[str, Any] = next((each["schema"] for each in formats if "schema" in each), {})
    names = _find_names(schema) if "properties" not in schema else []
    for part in [schemas[name] for name in names] or [schema]:
        if "properties" in part:
            yield f"<h3>{title}</h3>"
            yield from _render_fields(part, schemas, above=tuple(names), sure=sure)


def _render_fields(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], *, above: tuple[str, ...], sure: str
) -> Iterator[str]:
    """The fields of an object, those of objects in it below them. above: names of the objects that it is in."""
    yield "<dl>"
    for name, field in schema["properties"].items():
        note = f" ({sure})" if name in schema.get("required", ()) else ""
        yield f"<dt><code>{escape(name)}</code>{note}</dt><dd>{_render_text(field.get('description', ''))}"
        for inner in _find_names(field):
            if inner not in above and "properties" in schemas[inner]:
                yield from _render_fields(schemas[inner], schemas, above=(*above, inner), sure=sure)
        yield "</dd>"
    yield "</dl>"


def _find_names(schema: Mapping[str, Any]) -> list[str]:
    """Names of the objects that a value may be, or a list of such values may hold."""
    if "$ref" in schema:
        return [schema["$ref"].rpartition("/")[2]]
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("prefixItems", ())]
    parts += [schema["items"]] if isinstance(schema.get("items"), Mapping) else []
    return list(dict.fromkeys(name for part in parts for name in _find_names(part)))


def _render_text(text: str) -> str:
    """HTML of a text in which backticks enclose code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
