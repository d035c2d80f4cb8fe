"""What a service answers to nonsense: everything that its OpenAPI document allows, and pictures and bodies spoilt at
random.

Two parts against one running service:

1. schemathesis goes through every operation of `/openapi.json` with values that fit its schema, that lie at its limits,
   and that break it, and checks status codes, content types and schemas of the answers against the document.
2. `--times` requests of `bench/mutations.py`, half with a spoilt picture, half with a spoilt body or framing.

Figures: no status of 500 or above but the documented 503 and 504 of a service that is full, stopping or out of time; no
body with the insides of the program (names of exceptions, paths, addresses, tracebacks); an answer to everything that
is HTTP; the same verdict on a good request before and after.

Run: `python bench/fuzz.py --times 10000 --max-examples 200 --out fuzz.json`. About ten minutes. A finding is in the
report with its bytes (base64), and comes again with the same `--seed`.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, get_args

from bench.distinct_requests import Kind, RequestSource
from bench.mutations import Spoilt, build_body_request, build_picture_request, draw_pictures, spoil_picture
from bench.raw_http import Answer, ConnectionPool
from bench.running_service import Figure, RunningService, add_options, finish, run_service, say
from bench.serving import SAMPLES
from service.errors import Code

_CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "allow_header_conformance", "unsupported_method",
)  # fmt: skip
_EXPECTED = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 503, 504]\n'
_FINE_ABOVE_500 = {"overloaded", "shutting_down", "not_ready", "deadline_exceeded"}
_LEAK = re.compile(
    rb"Traceback|\b0x[0-9a-f]{6,}| object at |File \"|\.py\b|site-packages|/(?:usr|home|tmp|var|opt|root)/|\bPIL\b"
    rb"|Pillow|[A-Z]\w*(?:Error|Exception|Warning)\b|pydantic|starlette|uvicorn|fastapi|python_multipart|\btorch\b|asyncio"
)
_NOT_HTTP = b"Invalid HTTP request received."
_NUM_WORKERS = 8
_PATIENCE_SECONDS = 60.0
_FRAMING_PATIENCE_SECONDS = 3.0
_MAX_KEPT_FINDINGS = 50
_MAX_KEPT_LOG_CHARACTERS = 200_000
_MAX_DIFFERENCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An answer that must not be. what: which rule it breaks."""

    what: str
    request: Spoilt
    answer: Answer

    def describe(self) -> dict[str, object]:
        """For the report."""
        return {
            "what": self.what,
            "kind": self.request.kind,
            "status": self.answer.status,
            "failure": self.answer.failure,
            "body": self.answer.body[:500].decode("utf-8", "replace"),
            "request": base64.b64encode(self.request.wire[:200_000]).decode(),
        }


def find_fault(request: Spoilt, answer: Answer) -> str | None:
    """The rule that an answer breaks; None if it is as it should be."""
    if answer.failure is not None or answer.status is None:
        return "no answer" if request.is_framed else None  # whoever promises more bytes than come waits for itself
    is_picture = answer.headers.get("content-type", "").startswith("image/")
    if not is_picture and (_LEAK.search(answer.body) or _LEAK.search(repr(dict(answer.headers)).encode())):
        return "insides in an answer"
    if answer.status < 400:
        return None
    if answer.status == 400 and answer.body == _NOT_HTTP and not request.is_framed:
        return None
    try:
        code = json.loads(answer.body)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None if request.wire.startswith(b"HEAD") else "an error that is not in our shape"
    if code not in get_args(Code):
        return "an error with an unknown code"
    if answer.status >= 500 and code not in _FINE_ABOVE_500:
        return "a server error"
    return None


async def send_spoilt(service: RunningService, times: int, seed: int) -> tuple[Counter[str], list[Finding]]:
    """Send so many spoilt requests, some at once; statuses by kind, and what must not be."""
    pool, files, random = ConnectionPool(*service.address), draw_pictures(), Random(seed)
    counts: Counter[str] = Counter()
    findings: list[Finding] = []
    numbers = iter(range(times))

    async def work() -> None:
        for number in numbers:
            request_id = f"fuzz-{number}"
            if number % 2:
                request = build_picture_request(random, spoil_picture(random, files), request_id)
            else:
                request = build_body_request(random, random.choice(files), request_id)
            if request.is_framed:
                answer = await pool.exchange(request.wire, timeout_seconds=_PATIENCE_SECONDS)
            else:
                answer = await send_alone(service, request)
            counts[f"{request.kind}: {answer.status or answer.failure}"] += 1
            if (fault := find_fault(request, answer)) is not None:
                findings.append(Finding(what=fault, request=request, answer=answer))
                say(f"  {fault}: {request.kind}, {answer.status} {answer.failure}, {answer.body[:200]!r}")
            if number % 500 == 499:
                say(f"{number + 1}/{times} spoilt requests, {len(findings)} findings")

    await asyncio.gather(*(work() for _ in range(_NUM_WORKERS)))
    await pool.close()
    return counts, findings


async def send_alone(service: RunningService, request: Spoilt) -> Answer:
    """Send a request over a connection that carries no other: what is left of it would be read as the next one."""
    pool = ConnectionPool(*service.address)
    answer = await pool.exchange(request.wire, timeout_seconds=_FRAMING_PATIENCE_SECONDS)
    await pool.close()
    return answer


async def ask_good(service: RunningService) -> dict[str, Any] | None:
    """The verdict on a request that is always the same; None if there is none."""
    pool = ConnectionPool(*service.address)
    kind: Kind = "critique"
    answer = await pool.exchange(RequestSource(SAMPLES, run="good").make(kind).wire)
    await pool.close()
    return dict(json.loads(answer.body)) if answer.status == 200 and answer.failure is None else None


def is_same(before: dict[str, Any] | None, after: dict[str, Any] | None) -> bool:
    """Whether two verdicts agree: in the probabilities to a thousandth, which other rows of a batch may move."""
    if before is None or after is None:
        return False
    is_near = abs(before["margin"] - after["margin"]) < _MAX_DIFFERENCE
    return is_near and bool(before["critique"] == after["critique"])


def run_schemathesis(service: RunningService, max_examples: int, seed: int) -> dict[str, Any]:
    """Let it go through the document; its own report."""
    folder = service.log.parent
    report, config = folder / "schemathesis.json", folder / "schemathesis.toml"
    config.write_text(_EXPECTED, "utf-8")
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run",
        f"{service.server.url}/openapi.json", "--checks", ",".join(_CHECKS), "--max-examples", str(max_examples),
        "--phases", "examples,coverage,fuzzing", "--seed", str(seed), "--continue-on-failure", "--workers", "2",
        "--warnings", "off", "--request-timeout", "60", "--no-color", "--suppress-health-check", "all",
        "--report", "json", "--report-json-path", str(report),
    ]  # fmt: skip
    search = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "bench.openapi_hooks", "PYTHONPATH": search}
    subprocess.run(command, env=environment, cwd=folder, check=False, stdout=sys.stderr)  # noqa: S603 - our own command
    return dict(json.loads(report.read_text("utf-8"))) if report.is_file() else {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--times", type=int, default=10_000, help="spoilt requests")
    parser.add_argument("--max-examples", type=int, default=200, help="of each operation, for schemathesis; 0: without")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    with run_service() as service:
        before = asyncio.run(ask_good(service))
        held = service.read_held()
        by_document = run_schemathesis(service, options.max_examples, options.seed) if options.max_examples else {}
        counts, findings = asyncio.run(send_spoilt(service, options.times, options.seed))
        after = asyncio.run(ask_good(service))
        held_after = service.read_held()
        is_running, log = service.is_running, service.log.read_text("utf-8", "replace")
    for name, count in sorted(counts.items()):
        say(f"{name}: {count}")
    cases = by_document.get("test_cases", {})
    what = Counter(finding.what for finding in findings)
    figures = [
        Figure(name="schemathesis: operations", value=by_document.get("operations", {}).get("tested")),
        Figure(name="schemathesis: requests", value=cases.get("generated")),
        Figure(
            name="schemathesis: failures",
            value=cases.get("unique_failures"),
            limit=0 if options.max_examples else None,
        ),
        Figure(name="spoilt requests", value=sum(counts.values())),
        *(
            Figure(name=name, value=what[name], limit=0)
            for name in (
                "a server error", "no answer", "insides in an answer", "an error that is not in our shape",
                "an error with an unknown code",
            )
        ),
        Figure(name="tracebacks in the log", value=log.count("Traceback"), limit=0),
        Figure(name="another verdict afterwards", value=0 if is_same(before, after) else 1, limit=0),
        Figure(name="crashes", value=0 if is_running else 1, limit=0),
        Figure(name="memory before (MiB)", value=held.get("rss_mib")),
        Figure(name="memory afterwards (MiB)", value=held_after.get("rss_mib")),
        Figure(name="descriptors before", value=held.get("descriptors")),
        Figure(name="descriptors afterwards", value=held_after.get("descriptors")),
        Figure(name="seconds", value=time.perf_counter() - began),
    ]  # fmt: skip
    details = {
        "seed": options.seed,
        "statuses": dict(counts),
        "findings": [finding.describe() for finding in findings[:_MAX_KEPT_FINDINGS]],
        "schemathesis": by_document,
        "log": log[-_MAX_KEPT_LOG_CHARACTERS:],
    }
    return finish("Nonsense", figures, details, options.out)


if __name__ == "__main__":
    sys.exit(main())
