"""Whose key the page acts with: what the visitor's browser sent along, as a header or as the page's own cookie."""

from collections.abc import Mapping
from typing import Protocol

from starlette.datastructures import Headers

from service.authentication import read_key

COOKIE = "genrm_playground_key"


class Visit(Protocol):
    """A request of the page, Starlette's or Gradio's."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""

    @property
    def cookies(self) -> Mapping[str, str]:
        """Its cookies."""


def read_visitor_key(request: Visit) -> str | None:
    """The API key that came with a request of the page, a header before the cookie; None without one."""
    given = read_key(Headers(dict(request.headers)))
    if given is not None:
        return given
    try:  # in hexadecimal, because a key may have signs that a cookie cannot
        return bytes.fromhex(request.cookies.get(COOKIE, "")).decode() or None
    except ValueError:
        return None
