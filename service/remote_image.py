"""Fetches pictures from hosts that the operator has listed, and from nowhere else.

Whoever asks for a verdict chooses the URL, so a fetch is a way to make this service talk to what only it can reach
(SSRF). Every hop is checked in full: the URL's form, the list of hosts, one resolution, and that all its addresses are
public; the connection goes to one of them. HTTP itself is httpcore's, without proxies, cookies, credentials, content
codings and HTTP/2. There is one deadline over everything, and no more is read than a picture may have.

A message names the host of the URL that came in, and a coarse reason. It never says what a name resolved to, where a
redirect led, or what a library said, and it is the same whether a name is unknown, internal or silent. What kind of
file came is not looked at here.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpcore
import httpx

from genrm.media import ImageLimits
from service.connection import cancel_all
from service.errors import Code, RefusalError
from service.pinned_connection import PinnedBackend, Resolve, Resolver
from service.public_address import is_public_address
from service.remote_url import (
    MAX_URL_CHARACTERS,
    AllowedHosts,
    RemoteUrl,
    follow_reference,
    parse_allowed_hosts,
    parse_remote_url,
)
from service.settings import Settings

_MAX_REDIRECTS = 3
_MAX_REQUESTS = 32
"""Requests that have pictures fetched at once; more wait their turn. It bounds the memory for what has come."""
_NUM_FREE_PIECES = 1_000
_MIN_PIECE_BYTES = 256
"""Average size of a body's pieces after so many: one of a byte costs the event loop as much as one of 64 kB."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = [
    (b"User-Agent", b"vl-genrm"),
    (b"Accept", b"image/png, image/jpeg, image/webp, image/gif"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
]
_INSTEAD = "or send the picture itself as a data URL 'data:image/png;base64,…'."

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteImage:
    """A picture that may be fetched. param: the field that holds its URL, as the caller names it."""

    url: RemoteUrl
    param: str


@dataclass(kw_only=True)
class _Allowance:
    """How many bytes may still come, for one picture and for all of a request together."""

    max_image_bytes: int
    max_total_bytes: int
    num_total_bytes: int = 0

    def check(self, image: RemoteImage, num_image_bytes: int, *, num_new_bytes: int = 0) -> None:
        """Count `num_new_bytes`. Raises RefusalError if the picture has, or all together have, more than they may."""
        self.num_total_bytes += num_new_bytes
        if num_image_bytes > self.max_image_bytes:
            raise _refuse(
                image,
                f"sends more than {self.max_image_bytes:,} bytes, which is the limit. Compress or resize it, or raise "
                "GENRM_MAX_IMAGE_BYTES.",
                code="image_too_large",
            )
        if self.num_total_bytes > self.max_total_bytes:
            raise RefusalError(
                "image_too_large",
                f"The request's remote images have more than {self.max_total_bytes:,} bytes together; that is the "
                "limit. Compress or resize them, send fewer, or raise GENRM_MAX_BODY_BYTES.",
                param=image.param,
            )


class ImageFetcher:
    """Fetches the remote pictures of requests; one for the whole application, to be closed at its end.

    hosts: where pictures may come from; none: nothing is ever fetched or resolved. timeout_seconds: for one picture,
    from looking up its host to its last byte, redirects included. max_total_bytes: of all remote pictures of a
    request. resolve, may_connect, tls: how names become addresses, which of those are connected to, and whose
    certificates are believed. They are for tests, which have only their own machine; there is no setting for them.
    """

    def __init__(
        self,
        hosts: AllowedHosts,
        *,
        timeout_seconds: float,
        max_total_bytes: int,
        resolve: Resolve | None = None,
        may_connect: Callable[[str], bool] = is_public_address,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts = hosts
        self._timeout_seconds = timeout_seconds
        self._max_total_bytes = max_total_bytes
        self._resolver = Resolver()
        self._resolve = resolve or self._resolver
        self._may_connect = may_connect
        self._tls = tls or (httpx.create_ssl_context(trust_env=False) if hosts else None)
        self._places = asyncio.Semaphore(_MAX_REQUESTS)

    @property
    def is_active(self) -> bool:
        """Whether there is any host that pictures may come from."""
        return bool(self._hosts)

    def check(self, url: str, param: str) -> RemoteImage:
        """The picture at `url`, to be fetched later; nothing is resolved yet.

        param: the field that holds the URL. Raises RefusalError if its form or its host is not allowed.
        """
        parsed = parse_remote_url(url)
        if parsed is None:
            raise RefusalError(
                "remote_image_refused",
                "The image's remote URL is not of a form that is fetched: https://NAME/PATH or https://NAME:PORT/PATH, "
                f"at most {MAX_URL_CHARACTERS:,} ASCII characters, without user name, password and white space, and "
                "with a host name, not an address. Write it in this form (other characters of a path as %XX, of a "
                f"name as xn--…), {_INSTEAD}",
                param=param,
            )
        if not self._hosts.allow(parsed):
            raise RefusalError(
                "remote_image_refused",
                f"The image is at {parsed.origin}; this service fetches from listed hosts only, by https unless the "
                "list says otherwise. Have the operator add the host to GENRM_IMAGE_HOSTS, " + _INSTEAD,
                param=param,
            )
        return RemoteImage(url=parsed, param=param)

    async def fetch_all(self, images: Sequence[RemoteImage], limits: ImageLimits) -> list[bytes]:
        """The files of all pictures of a request, in the order given, fetched side by side.

        limits: most bytes that each may have. Raises RefusalError for the first that fails; the others are dropped.
        """
        allowance = _Allowance(max_image_bytes=limits.max_image_bytes, max_total_bytes=self._max_total_bytes)
        async with self._places:
            fetching = [asyncio.ensure_future(self._fetch(image, allowance)) for image in images]
            try:
                return await asyncio.gather(*fetching)
            finally:
                await cancel_all(*fetching)

    def close(self) -> None:
        """Give threads back. Fetches belong to their requests and end with them."""
        self._resolver.close()

    async def _fetch(self, image: RemoteImage, allowance: _Allowance) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._follow(image, allowance)
        except TimeoutError:
            raise _refuse(
                image,
                f"did not deliver it within {self._timeout_seconds:g} s (GENRM_IMAGE_FETCH_TIMEOUT_SECONDS). Try again "
                f"later, {_INSTEAD}",
            ) from None
        except (httpcore.ReadError, httpcore.WriteError, httpcore.ProtocolError):
            raise _refuse(image, f"broke off, or answered with what is not HTTP. Try again later, {_INSTEAD}") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError):
            raise _refuse_unreachable(image) from None

    async def _follow(self, image: RemoteImage, allowance: _Allowance) -> bytes:
        url = image.url
        for _ in range(1 + _MAX_REDIRECTS):
            answer = await self._ask(image, url, allowance)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise _refuse(image, f"redirects more than {_MAX_REDIRECTS} times. Give the URL that it leads to, {_INSTEAD}")

    async def _ask(self, image: RemoteImage, url: RemoteUrl, allowance: _Allowance) -> bytes | RemoteUrl:
        """One hop: the picture's file, or where to ask next."""
        async with (
            PinnedBackend(await self._find_addresses(image, url)) as backend,
            httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                network_backend=backend,
                max_connections=1,
                max_keepalive_connections=0,
            ) as pool,
            pool.stream(
                "GET",
                httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
                headers=_HEADERS,
                extensions={"timeout": {"connect": self._timeout_seconds}},
            ) as response,
        ):
            headers = httpx.Headers(response.headers)
            if response.status in _REDIRECTS:
                return self._redirect(image, url, headers)
            if response.status != 200:
                raise _refuse(
                    image, f"answered with status {response.status}; 200 is needed. Check the URL, {_INSTEAD}"
                )
            return await _read_body(image, response, headers, allowance)

    async def _find_addresses(self, image: RemoteImage, url: RemoteUrl) -> Sequence[str]:
        addresses = await self._resolve(url.host, url.port)
        if not addresses:
            raise _refuse_unreachable(image)
        if not all(self._may_connect(address) for address in addresses):
            _logger.warning("%s has an address that is not public; no image is fetched from there", url.host)
            raise _refuse_unreachable(image)
        return addresses

    def _redirect(self, image: RemoteImage, url: RemoteUrl, headers: httpx.Headers) -> RemoteUrl:
        target = follow_reference(url, headers.get("location", ""))
        if target is None or not self._hosts.allow(target):
            raise _refuse(
                image,
                "redirects to where this service does not fetch from. Give a URL that leads to the picture directly, "
                f"{_INSTEAD}",
            )
        return target


async def _read_body(
    image: RemoteImage, response: httpcore.Response, headers: httpx.Headers, allowance: _Allowance
) -> bytes:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _refuse(
            image,
            "sends it in a content coding such as gzip; only the file as it is, is taken. Serve it without, "
            f"{_INSTEAD}",
        )
    declared = headers.get("content-length", "")
    allowance.check(image, int(declared) if declared.isdecimal() else 0)
    body = bytearray()
    num_pieces = 0
    async for piece in response.aiter_stream():
        body += piece
        num_pieces += 1
        allowance.check(image, len(body), num_new_bytes=len(piece))
        if num_pieces > _NUM_FREE_PIECES + len(body) // _MIN_PIECE_BYTES:
            raise _refuse(
                image, f"sends it in pieces of less than {_MIN_PIECE_BYTES} bytes. Serve it in larger ones, {_INSTEAD}"
            )
    return bytes(body)


def _refuse(image: RemoteImage, what: str, *, code: Code = "remote_image_failed") -> RefusalError:
    return RefusalError(code, f"The image's host {image.url.host} {what}", param=image.param)


def _refuse_unreachable(image: RemoteImage) -> RefusalError:
    return _refuse(
        image,
        "could not be reached: its name must lead to public addresses only, and one of them must answer, with a valid "
        f"certificate for the name if by https. Check the URL, {_INSTEAD}",
    )


def build_fetcher(settings: Settings) -> ImageFetcher:
    """The fetcher that the settings describe. Raises StartError if the hosts cannot be read."""
    return ImageFetcher(
        parse_allowed_hosts(settings.image_hosts),
        timeout_seconds=settings.image_fetch_timeout_seconds,
        max_total_bytes=settings.max_body_bytes,
    )
