"""Threads for work that cannot be cancelled and that nobody waits for once the process is to end: loading a model.

An ordinary executor's threads are joined when the event loop closes and again when the interpreter ends, so a SIGTERM
during a load of minutes would be obeyed after those minutes. These are not; but while one runs, the interpreter must
not end in its ordinary way, in which C++ code that waits for the interpreter's lock aborts the process.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_NAME = "genrm-loading"


class LoadingThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own. An executor of this base because event loops take no other."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future result of `fn(*args, **kwargs)`."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        future.set_running_or_notify_cancel()
        threading.Thread(target=run, name=_NAME, daemon=True).start()
        return future


def is_any_loading() -> bool:
    """Whether a call still runs in such a thread."""
    return any(thread.name == _NAME for thread in threading.enumerate())
