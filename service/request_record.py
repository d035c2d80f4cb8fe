"""What is known about a request while it runs: its id, when it came, and what its log line and its trace will say."""

import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.requests import Request

from service.errors import Code
from service.stages import Stage

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


@dataclass(kw_only=True)
class RequestRecord:
    """Notes on one request. started: `time.perf_counter()` at its arrival. route: its pattern, if no router sees it."""

    request_id: str
    started: float
    route: str | None = None
    error_code: Code | None = None
    facts: dict[str, object] = field(default_factory=dict)
    """What a route adds to the log line: short values, no texts of the caller."""
    stages: list[Stage] = field(default_factory=list)
    """What its time went into, for its trace."""

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[Stage]:
        """Note the time that the block takes as a stage of the request."""
        stage = Stage(name=name, started=time.perf_counter())
        self.stages.append(stage)
        try:
            yield stage
        except BaseException:
            stage.has_failed = True
            raise
        finally:
            stage.ended = time.perf_counter()


def get_record(request: Request) -> RequestRecord:
    """The record of a running request."""
    record: RequestRecord = request.state.record
    return record


def choose_request_id(given: str | None) -> str:
    """The caller's id if it is 1 to 128 letters, digits, `.`, `_`, `:`, `-`; otherwise a new one."""
    return given if given is not None and _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
