"""Work that is dropped when the client hangs up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from service.errors import ClientGoneError

T = TypeVar("T")


async def run_while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects first.

    receive: the request's ASGI channel, its body already read. Raises ClientGoneError if the client left, and whatever
    `work` raises.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(wait_for_disconnect(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError("The client disconnected before its answer was ready.")
    finally:
        await cancel_all(working, leaving)


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has hung up. receive: the request's ASGI channel, its body already read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancel_all(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still runs and wait until it has; results and errors of all are dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
