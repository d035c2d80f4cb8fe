"""Which files a visitor may name: those that lie in the page's own folders, and nothing by URL.

Gradio takes files as JSON objects with a `path`, in the body of a call. It checks such paths only where it runs its own
server, and fetches those that are URLs. So the playground's door looks at them before Gradio does.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive

from service.errors import RefusalError
from service.incoming import check_structure
from service.settings import Settings

_MAX_DEPTH = 64


async def check_files(request: Request, folders: Sequence[Path], settings: Settings) -> Receive:
    """Read the body of a call and refuse it if it names files of others; else it can be received again."""
    body = await request.body()
    refuse_foreign_files(body, folders, settings)
    is_given = False

    async def receive() -> Message:
        nonlocal is_given
        if is_given:
            return await request.receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def refuse_foreign_files(body: bytes, folders: Sequence[Path], settings: Settings) -> None:
    """Raise RefusalError if a call's body names a file that is not below one of the folders.

    folders: resolved. A body that is no JSON, has more values than any judgement or is nested deeper than any of the
    page's is refused as well.
    """
    check_structure(body, settings, num_texts=max(3, 1 + settings.max_candidates))  # of a judgement, of a ranking
    try:
        paths = list(_find_paths(json.loads(body)))
    except (ValueError, RecursionError):
        raise RefusalError(
            "invalid_json", "The body of a call is JSON, which this is not. Load the page again."
        ) from None
    for path in paths:
        if not isinstance(path, str) or not _is_below(path, folders):
            raise RefusalError(
                "invalid_value",
                "A call may name files that were uploaded to this page, and no others. Upload the file, or load the "
                "page again.",
            )


def _find_paths(value: Any, depth: int = 0) -> Iterator[Any]:  # noqa: ANN401 - any JSON value
    """What stands under the key `path` of any object."""
    if depth > _MAX_DEPTH:
        raise ValueError
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        for each in value.values():
            yield from _find_paths(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from _find_paths(each, depth + 1)


def _is_below(path: str, folders: Sequence[Path]) -> bool:
    """Whether an absolute path, links followed, is below one of the folders."""
    try:
        whole = Path(path)
        return whole.is_absolute() and any(whole.resolve().is_relative_to(folder) for folder in folders)
    except (OSError, ValueError):  # too long, or with a null character
        return False
