"""The process around the application: its port, its signals, its one start line, its end.

The ports (of the service, and of its metrics if they have one) are taken before anything is loaded, so a busy one is an
error at once. On SIGTERM `/readyz` answers 503 while
the port is still open, then the port closes, running judgements finish, and the process ends with status 0. Ctrl-C
skips the wait. A model that still loads is not waited for. Connections that are about to be closed are told so by
`service.last_answers`.
"""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from genrm.errors import GenRMError
from service.errors import StartError
from service.lifecycle import Lifecycle
from service.loading_threads import LoadingThreads, is_any_loading
from service.metrics_port import MetricsServer
from service.settings import Settings

_BACKLOG = 2048
_LAST_REQUESTS_SECONDS = 0.2
"""After the port is closed, how long requests that reached it before have to be read, so that they get an answer."""


@dataclass(frozen=True, kw_only=True)
class PortNames:
    """What messages call the settings of a port."""

    host: str = "--host or GENRM_HOST"
    port: str = "--port or GENRM_PORT"


_NAMES = PortNames()
_METRICS_NAMES = PortNames(host="GENRM_METRICS_HOST", port="GENRM_METRICS_PORT")


def open_port(host: str, port: int, names: PortNames = _NAMES) -> socket.socket:
    """A listening socket. port: 0 takes a free one. Raises StartError that names the port and the remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Connections inherit the protocol named here, and asyncio sets TCP_NODELAY only where one is named. Without it the
    # second packet of an answer waits until the client has acknowledged the first, which many put off for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, TypeError) as error:  # the latter: a host that cannot be a name
        listener.close()
        raise StartError(_describe_bind_failure(error, host, port, names)) from None
    return listener


def open_metrics_port(settings: Settings) -> socket.socket | None:
    """A listening socket for `/metrics` alone; None where the settings give it no port. Raises as `open_port` does."""
    if settings.metrics_port is None:
        return None
    return open_port(settings.metrics_host or settings.host, settings.metrics_port, _METRICS_NAMES)


def format_url(listener: socket.socket) -> str:
    """The URL at which a browser on this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is read here, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class JudgeServer(uvicorn.Server):
    """uvicorn with an orderly stop and a word to whoever waits for the start.

    on_ready: called once, when the model is loaded. It and all checks run on uvicorn's tick, ten times a second.
    metrics_listener: where `/metrics` is answered, if not by the application.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        on_ready: Callable[[Lifecycle], None],
        metrics_listener: socket.socket | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                log_config=None,
                lifespan="on",
                timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
            )
        )
        self._lifecycle: Lifecycle = app.state.lifecycle
        self._metrics_server = MetricsServer(app.state.metrics, metrics_listener) if metrics_listener else None
        self._delay_seconds = settings.shutdown_delay_seconds
        self._on_ready = on_ready
        self._said_ready = False
        self._stop_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal, or Ctrl-C, does not wait for load balancers; a third waits for nothing."""
        if self.should_exit:
            self.force_exit = True
        self._lifecycle.stop_accepting()
        hurry = sig == signal.SIGINT or self._stop_at is not None
        self._stop_at = time.monotonic() + (0 if hurry else self._delay_seconds)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port and begin to load, in threads that can be left behind."""
        asyncio.get_running_loop().set_default_executor(LoadingThreads())
        if self._metrics_server is not None:
            self._metrics_server.start()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the main loop."""
        if self._lifecycle.phase == "ready" and not self._said_ready:
            self._said_ready = True
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
            self._on_ready(self._lifecycle)
        if self._lifecycle.phase == "failed" or (self._stop_at is not None and time.monotonic() >= self._stop_at):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, answer what came through it just before, let finish what runs, close the engine; the metrics
        go last.

        uvicorn alone would close connections whose request it has not read yet, under clients that wait.
        """
        try:
            for server in self.servers:
                server.close()
            await asyncio.sleep(_LAST_REQUESTS_SECONDS)
            await super().shutdown(sockets)
        finally:
            if self._metrics_server is not None:
                await self._metrics_server.stop()


def run_server(
    app: FastAPI,
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[Lifecycle], None],
    metrics_listener: socket.socket | None = None,
) -> None:
    """Serve until a signal comes. metrics_listener: of `open_metrics_port`.

    Raises what kept the model from loading: a GenRMError, or StartError in its place. Does not return if the signal
    came while the model was loading, but ends the process with status 0.
    """
    lifecycle: Lifecycle = app.state.lifecycle

    def say_ready(life: Lifecycle) -> None:
        _spare_what_is_loaded()
        on_ready(life)

    JudgeServer(app, settings, say_ready, metrics_listener).run(sockets=[listener])
    if isinstance(lifecycle.error, GenRMError):
        raise lifecycle.error
    if lifecycle.error is not None:
        raise StartError("The model could not be loaded for a reason that was not foreseen; the log above has it.")
    if is_any_loading() or _is_any_waiting_for_the_database():
        logging.shutdown()
        os._exit(0)


def _spare_what_is_loaded() -> None:
    """Have the garbage collector look no more at what lives as long as the process: models and libraries, a million
    objects. A full collection stops every thread, half a second each time, refusals of an overloaded replica included.
    For a process that does nothing but serve.
    """
    gc.collect()
    gc.freeze()


def _is_any_waiting_for_the_database() -> bool:
    """Whether threads of the workflow engine are left, which retry for ever; Python would wait for them."""
    return any(thread.name.startswith("dbos-executor-") for thread in threading.enumerate())


def _describe_bind_failure(error: OSError | TypeError, host: str, port: int, names: PortNames) -> str:
    where = f"Port {port} on {host}"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return (
            f"{where} is in use by another process, or by this one for something else. Stop that process, or choose "
            f"another port with {names.port}; 0 takes a free one."
        )
    if number == errno.EACCES:
        return f"{where} may not be opened by this user. Choose a port above 1023 with {names.port}."
    return (
        f"{where} cannot be opened: {host} is no address of this machine. Use 127.0.0.1 for this machine only or "
        f"0.0.0.0 for all its networks, with {names.host}."
    )
