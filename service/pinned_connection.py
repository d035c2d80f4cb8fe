"""Name resolution that happens once, and connections that go only to what it found.

A name that is resolved for a check and again for a connection can have two answers (DNS rebinding). Here the addresses
are handed from the one to the other; TLS and the Host header still use the name.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import httpcore

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to its addresses, the best first. Raises OSError if there are none."""

_MAX_LOOKUPS = 8
_MAX_TRIED = 4
"""Addresses of one host that are tried, so that a name with hundreds does not buy hundreds of connections."""


class Resolver:
    """Asks the operating system, in threads of its own: a lookup cannot be cancelled, and those that hang must not keep
    others from decoding pictures.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MAX_LOOKUPS, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of `host`. Raises OSError if there are none."""
        absolute = f"{host}."  # otherwise the system may first try it below its own domains: a cluster's, a company's
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(absolute, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """Look nothing more up; lookups that run are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to given addresses, whatever host is asked for, and closes what it connected when its block ends.

    addresses: IP addresses that were found good. The library alone would leave a connection open whose TLS handshake is
    cancelled.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses[:_MAX_TRIED]
        self._backend = httpcore.AnyIOBackend()
        self._streams: list[httpcore.AsyncNetworkStream] = []

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections; those that are closed already stay so."""
        for stream in self._streams:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address that answers; each gets its share of the time.

        host: not looked at. Raises httpcore.ConnectError if none answers.
        """
        share = None if timeout is None else timeout / max(1, len(self._addresses))
        for address in self._addresses:
            try:
                stream = await self._backend.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            self._streams.append(stream)
            return stream
        raise httpcore.ConnectError

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never. Raises httpcore.ConnectError."""
        del path, timeout, socket_options
        raise httpcore.ConnectError

    async def sleep(self, seconds: float) -> None:
        """Wait, as the library asks between retries."""
        await asyncio.sleep(seconds)
