"""Who may ask: once the settings have API keys, every path but health and metrics needs one, known or not; the
playground sees to it itself, because a browser is asked by a page.

A key comes as `Authorization: Bearer KEY` or `X-Api-Key: KEY`. What it may ask for is `service.quota`'s business; both
are settled here, before anything of the request's body is read.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import RefusalError
from service.keyring import Keyring
from service.keys import ApiKey
from service.quota import Quotas
from service.request_record import RequestRecord

OPEN_PATHS = frozenset({"/livez", "/readyz", "/health", "/metrics"})
"""What orchestrators and Prometheus read."""


class Authentication:
    """ASGI middleware, inside of `RequestLog`, which answers its refusals.

    keyring: the keys that count. quotas: what each has used. own_door: a path below which an application asks for the
    key itself.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, quotas: Quotas, own_door: str | None = None) -> None:
        self._app = app
        self._keyring = keyring
        self._quotas = quotas
        self._own_door = own_door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its key's name noted. Raises RefusalError."""
        if scope["type"] != "http" or not self._keyring.is_needed or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        key = self._require_key(Headers(scope=scope))
        scope["state"]["record"].facts["key"] = key.name
        with self._quotas.spend(key):
            await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in OPEN_PATHS or is_behind(self._own_door, path)

    def _require_key(self, headers: Headers) -> ApiKey:
        given = read_key(headers)
        if given is None:
            raise RefusalError(
                "missing_api_key",
                "The request brings no API key, and this service wants one. Send the header 'Authorization: Bearer "
                "KEY'; the operator gives out keys.",
            )
        key = self._keyring.find(given)
        if key is None:
            raise RefusalError(
                "invalid_api_key",
                "The request's API key is not one that counts here. Check it for typing errors, or ask the operator "
                "for a new one; keys can be taken back.",
            )
        return key


def is_behind(own_door: str | None, path: str) -> bool:
    """Whether an application that asks for the key itself answers a path. own_door: of that application, if there is
    one.
    """
    return own_door is not None and (path == own_door or path.startswith(f"{own_door}/"))


def get_owner(record: RequestRecord) -> str | None:
    """The name of the key that a request brought, to which what it makes belongs; None where none is needed."""
    name = record.facts.get("key")
    return name if isinstance(name, str) else None


def read_key(headers: Headers) -> str | None:
    """The key that a request brings, `Authorization` before `X-Api-Key`; None if it brings none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    return headers.get("x-api-key", "").strip() or None
