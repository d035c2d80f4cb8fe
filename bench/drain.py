"""Whether a service that is told to stop answers everything it has taken on: SIGTERM under load, again and again.

Each round starts the service, lets clients send a mix of judgements (critique, fast, streamed, as a form) and rankings
without a pause, and sends SIGTERM at a random moment. The clients go on as if nothing had happened until the port takes
no connections any more. What can become of a request:

- answered: a whole answer that is no refusal;
- refused: 503 `shutting_down` before anything was done for it, which a client can send elsewhere;
- not connected: the port was closed;
- never seen: its connection closed without a byte in answer, and the service, which logs each request that it begins
  under the request's id, has no line of it: it was not accepted, and can be sent again safely;
- lost: anything else. An answer cut short, a connection closed under a request that had begun, a judgement given up.

Figures: nothing lost, and every process ends with status 0.

Run: `python bench/drain.py --times 20 --out drain.json`. About eight minutes.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from bench.distinct_requests import Kind, RequestSource, mix_kinds
from bench.load_loops import read_code
from bench.raw_http import Answer, ConnectionPool
from bench.running_service import Figure, RunningService, add_options, finish, run_service, say

MIX: tuple[tuple[Kind, int], ...] = (("critique", 4), ("fast", 3), ("stream", 3), ("form", 3), ("rerank", 1))
Outcome = Literal["answered", "refused", "not connected", "never seen", "lost"]
_AT_THE_DOOR = b"takes nothing new"
"""What the refusal of a request says for which nothing has been done yet."""
_PAUSE_SECONDS = 0.02
_STOP_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Round:
    """One stop. outcomes: of all requests. lost: what is known of those that were. exit_status: of the process.

    seconds_to_stop: from the signal to the end of the process. num_running: requests under way when the signal came.
    """

    outcomes: dict[Outcome, int]
    lost: list[str]
    exit_status: int | None
    seconds_to_stop: float
    num_running: int


def classify(answer: Answer, *, is_logged: bool) -> Outcome:
    """What became of a request. is_logged: whether the service began it, by its own log."""
    if answer.failure == "not_connected":
        return "not connected"
    if answer.failure is not None:
        return "never seen" if answer.failure == "closed" and answer.status is None and not is_logged else "lost"
    if answer.status == 503 and _AT_THE_DOOR in answer.body:
        return "refused"
    return "answered" if read_code(answer) is None else "lost"


def read_logged_ids(log: Path) -> set[str]:
    """The ids of all requests that the service began and has ended since, from its log of JSON lines."""
    lines = (line for line in log.read_text("utf-8", "replace").splitlines() if '"request_id"' in line)
    return {str(json.loads(line)["request_id"]) for line in lines if line.startswith("{")}


async def load_and_stop(
    service: RunningService, folder: Path, *, num_clients: int, after_seconds: float, seed: int
) -> tuple[list[tuple[str, Answer]], float, int]:
    """Load the service, stop it; every request's id and answer, seconds until the process ended, and what ran then."""
    source, kinds = RequestSource(folder, run=f"drain-{seed}"), mix_kinds(MIX, seed)
    pool = ConnectionPool(*service.address)
    answers: list[tuple[str, Answer]] = []
    num_running = 0

    async def run_client() -> None:
        nonlocal num_running
        while True:
            request = source.make(next(kinds))
            num_running += 1
            answer = await pool.exchange(request.wire)
            num_running -= 1
            answers.append((f"{request.request_id} {request.kind}", answer))
            if answer.failure == "not_connected":
                return
            if answer.status != 200:
                await asyncio.sleep(_PAUSE_SECONDS)

    clients = [asyncio.ensure_future(run_client()) for _ in range(num_clients)]
    await asyncio.sleep(after_seconds)
    process = service.server.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    signalled, running_then = time.perf_counter(), num_running
    await asyncio.gather(*clients)
    await pool.close()
    await asyncio.to_thread(process.wait, _STOP_TIMEOUT_SECONDS)
    return answers, time.perf_counter() - signalled, running_then


def run_round(folder: Path, *, num_clients: int, after_seconds: float, seed: int) -> Round:
    """Start, load, stop, count."""
    with run_service({"GENRM_LOG_FORMAT": "json"}, "--log-level", "info") as service:
        answers, seconds_to_stop, num_running = asyncio.run(
            load_and_stop(service, folder, num_clients=num_clients, after_seconds=after_seconds, seed=seed)
        )
        logged = read_logged_ids(service.log)
        found = [(name, answer, classify(answer, is_logged=name.split()[0] in logged)) for name, answer in answers]
        assert service.server.process is not None
        return Round(
            outcomes=dict(Counter(outcome for _, _, outcome in found)),
            lost=[
                f"{name}: {answer.failure}, status {answer.status}, {answer.body[:200]!r}"
                for name, answer, outcome in found
                if outcome == "lost"
            ],
            exit_status=service.server.process.poll(),
            seconds_to_stop=seconds_to_stop,
            num_running=num_running,
        )


def judge_rounds(rounds: Sequence[Round]) -> list[Figure]:
    """The figures of all rounds together."""
    counts: Counter[str] = Counter()
    for each in rounds:
        counts.update(each.outcomes)
    return [
        Figure(name="stops", value=len(rounds)),
        Figure(name="requests under way when the signal came", value=sum(each.num_running for each in rounds)),
        *(Figure(name=name, value=counts[name]) for name in ("answered", "refused", "not connected", "never seen")),
        Figure(name="lost", value=counts["lost"], limit=0),
        Figure(
            name="processes that ended otherwise than with status 0",
            value=sum(1 for each in rounds if each.exit_status != 0),
            limit=0,
        ),
        Figure(name="longest stop (s)", value=max((each.seconds_to_stop for each in rounds), default=None)),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--times", type=int, default=20, help="how often the service is stopped")
    parser.add_argument("--clients", type=int, default=24, help="clients that send without a pause")
    parser.add_argument("--seconds", type=float, default=6.0, help="latest moment of the signal")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    random = Random(options.seed)
    rounds: list[Round] = []
    for number in range(options.times):
        after_seconds = random.uniform(0.2, 1) * options.seconds
        rounds.append(
            run_round(options.pairs, num_clients=options.clients, after_seconds=after_seconds, seed=1000 + number)
        )
        say(f"{number + 1}/{options.times}: {rounds[-1].outcomes}, {rounds[-1].num_running} were under way")
        for line in rounds[-1].lost:
            say(f"  lost: {line}")
    details = {"rounds": [vars(each) for each in rounds]}
    return finish(f"SIGTERM under {options.clients} clients", judge_rounds(rounds), details, options.out)


if __name__ == "__main__":
    sys.exit(main())
