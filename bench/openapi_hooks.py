"""Lets schemathesis get as far as a verdict: most pictures that it makes up, which no decoder takes, become real ones.

Loaded by `bench/fuzz.py` through `SCHEMATHESIS_HOOKS`. What is left alone (a quarter) tests the refusals.
"""

import io
import zlib
from typing import Any

import schemathesis
from PIL import Image

from bench.distinct_requests import to_data_url


def _draw() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(file, "PNG")
    return file.getvalue()


_FILE = _draw()
_URL = to_data_url(_FILE)


def _is_left_alone(value: object) -> bool:
    """A quarter of all values, always the same ones, so that a case can be replayed."""
    return zlib.crc32(repr(value).encode()) % 4 == 0


def put_real_pictures(value: Any, *, is_form: bool) -> Any:  # noqa: ANN401 - whatever was generated
    """A body, or a part of one, with real pictures where its schema has pictures, and short work to do."""
    if isinstance(value, list):
        return [put_real_pictures(each, is_form=is_form) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: put_real_pictures(each, is_form=is_form) for name, each in value.items()}
    if isinstance(found.get("url"), str) and not _is_left_alone(found["url"]):
        found["url"] = _URL
    if is_form and isinstance(found.get("image"), list) and not _is_left_alone(found["image"]):
        found["image"] = [_FILE for _ in found["image"]]
    if found.get("image") is not None and not _is_left_alone(found.get("images")):
        found.pop("images", None)
    if isinstance(found.get("samples"), int):
        found["samples"] = min(found["samples"], 2)
    return found


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """What schemathesis calls before it sends a request, in every phase."""
    del context, kwargs
    case.body = put_real_pictures(case.body, is_form=case.media_type == "multipart/form-data")
