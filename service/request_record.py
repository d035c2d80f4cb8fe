"""What is known about a request while it runs: its id, when it came, and what its log line will say."""

import re
import uuid
from dataclasses import dataclass, field

from starlette.requests import Request

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


@dataclass(kw_only=True)
class RequestRecord:
    """Notes on one request. started: `time.perf_counter()` at its arrival. route: its pattern, if no router sees it."""

    request_id: str
    started: float
    route: str | None = None
    error_code: str | None = None
    facts: dict[str, object] = field(default_factory=dict)
    """What a route adds to the log line: short values, no texts of the caller."""


def get_record(request: Request) -> RequestRecord:
    """The record of a running request."""
    record: RequestRecord = request.state.record
    return record


def choose_request_id(given: str | None) -> str:
    """The caller's id if it is 1 to 128 letters, digits, `.`, `_`, `:`, `-`; otherwise a new one."""
    return given if given is not None and _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
