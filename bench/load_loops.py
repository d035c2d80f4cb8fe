"""Load on a running service: closed loops, whose clients wait for their answers, and open ones, which do not wait.

A closed loop finds what a service can do: clients are added until throughput stops growing. An open loop is what the
world does: requests come at a rate of their own, answered or not. Arrivals are random (exponential gaps, seeded). Both
are meant for a process of their own (`running_service.run_apart`) and report how late they were themselves: a load
generator that cannot keep up measures itself.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench.distinct_requests import Kind, Request, RequestSource, mix_kinds
from bench.raw_http import Answer, ConnectionPool, Failure
from bench.running_service import RunningService, run_apart, say
from bench.serving import find_percentile

ONLY_CRITIQUES: tuple[tuple[Kind, int], ...] = (("critique", 1),)
_GROWTH = 1.05
"""More clients are worth it as long as they raise throughput by this factor."""
_WARMUP_SHARE = 0.25
_SAY_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one load does. mix: kinds of requests with their weights. rate: requests per second of an open loop.

    num_clients: of a closed loop. hang_up_share: of the requests, how many are left by their client before the end.
    """

    address: tuple[str, int]
    folder: Path
    seconds: float
    mix: Sequence[tuple[Kind, int]] = ONLY_CRITIQUES
    rate: float = 0.0
    num_clients: int = 0
    hang_up_share: float = 0.0
    run: str = "bench"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and how it ended. due: when it should have left; sent, ended: when it did, and the last byte came.

    Times are in seconds since the load began. code: the error's, if it is one. has_retry_after: whether it says when to
    ask again.
    """

    kind: Kind
    request_id: str
    due: float
    sent: float
    ended: float
    status: int | None
    failure: Failure | None
    code: str | None
    has_retry_after: bool

    @property
    def latency_ms(self) -> float:
        """From the first byte sent to the last received."""
        return (self.ended - self.sent) * 1000

    @property
    def lateness_ms(self) -> float:
        """How much later than planned it was sent: the load generator's own lag."""
        return (self.sent - self.due) * 1000

    @property
    def is_good(self) -> bool:
        """Whether it got what it asked for."""
        return self.status == 200 and self.failure is None and self.code is None


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a load saw. cpu_share: of one core, what the load generator itself took."""

    exchanges: list[Exchange] = field(default_factory=list)
    seconds: float = 0.0
    cpu_share: float = 0.0

    def find_latency(self, percent: int) -> float | None:
        """A percentile of the latency of good answers, in milliseconds."""
        return find_percentile(sorted(each.latency_ms for each in self.exchanges if each.is_good), percent)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Where throughput stops growing: with so many clients, so many good answers per second."""

    num_clients: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None


def run_closed_loop(plan: Plan) -> Load:
    """Clients that send the next request when they have the answer to the last."""
    return asyncio.run(_run(plan, is_open=False))


def run_open_loop(plan: Plan) -> Load:
    """Requests that leave when they are due, whatever became of those before."""
    return asyncio.run(_run(plan, is_open=True))


def find_capacity(service: RunningService, plan: Plan, clients: Sequence[int]) -> tuple[Capacity, list[Capacity]]:
    """Raise the number of clients until throughput stops growing; the capacity, and every step.

    plan: the load of one step. clients: numbers of clients, rising. Of the steps within 5 % of the best throughput, the
    one with the fewest clients counts: more only wait longer.
    """
    run_apart(run_closed_loop, _change(plan, num_clients=2, seconds=min(2.0, plan.seconds), run="warmup"))
    steps: list[Capacity] = []
    for num_clients in clients:
        load = run_apart(run_closed_loop, _change(plan, num_clients=num_clients, run=f"closed-{num_clients}"))
        steps.append(measure_capacity(load, num_clients))
        say(f"{num_clients:3d} clients: {steps[-1].rate:.1f} answers/s, p99 {steps[-1].p99_ms or 0:.0f} ms")
        if len(steps) > 2 and max(step.rate for step in steps[-2:]) < _GROWTH * max(step.rate for step in steps[:-2]):
            break
    return choose_capacity(steps), steps


def measure_capacity(load: Load, num_clients: int) -> Capacity:
    """What a closed loop of so many clients achieved: good answers per second, once they are under way.

    The first quarter of the time does not count for the rate: nothing can end before it has begun.
    """
    start = _WARMUP_SHARE * load.seconds
    inside = sum(1 for each in load.exchanges if each.is_good and start <= each.ended < load.seconds)
    return Capacity(
        num_clients=num_clients,
        rate=inside / (load.seconds - start),
        p50_ms=load.find_latency(50),
        p99_ms=load.find_latency(99),
    )


def choose_capacity(steps: Sequence[Capacity]) -> Capacity:
    """The step with the fewest clients among those that reach the best throughput, within 5 %."""
    best = max(step.rate for step in steps)
    return min((step for step in steps if step.rate * _GROWTH >= best), key=lambda step: step.num_clients)


def _change(plan: Plan, *, run: str, num_clients: int, seconds: float | None = None) -> Plan:
    return Plan(
        address=plan.address,
        folder=plan.folder,
        seconds=plan.seconds if seconds is None else seconds,
        mix=plan.mix,
        num_clients=num_clients,
        run=run,
        seed=plan.seed,
    )


async def _run(plan: Plan, *, is_open: bool) -> Load:
    loop = _Loop(plan)
    cpu_seconds = time.process_time()
    await (loop.run_open() if is_open else loop.run_closed())
    wall_seconds = time.perf_counter() - loop.began
    return Load(
        exchanges=loop.exchanges,
        seconds=plan.seconds,
        cpu_share=(time.process_time() - cpu_seconds) / wall_seconds,
    )


class _Loop:
    """One load while it runs."""

    def __init__(self, plan: Plan) -> None:
        self.exchanges: list[Exchange] = []
        self._plan = plan
        self._pool = ConnectionPool(*plan.address)
        self._random = Random(plan.seed)
        self._source = RequestSource(plan.folder, run=plan.run)
        self._kinds = mix_kinds(plan.mix, plan.seed)
        self.began = time.perf_counter()

    async def run_closed(self) -> None:
        async def run_client() -> None:
            while (due := time.perf_counter()) < self.began + self._plan.seconds:
                exchange = await self._send(self._source.make(next(self._kinds)), due, hang_up_after=None)
                if exchange.status in (None, 429, 503):
                    await asyncio.sleep(0.1)  # a server that refuses at once must not be flooded

        await asyncio.gather(*(run_client() for _ in range(self._plan.num_clients)))
        await self._pool.close()

    async def run_open(self) -> None:
        running: set[asyncio.Task[Exchange]] = set()
        due = self.began
        say_at = self.began + _SAY_SECONDS
        while due < self.began + self._plan.seconds:
            request = self._source.make(next(self._kinds))  # ready before it is due
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            else:
                await asyncio.sleep(0)
            leaves = self._random.random() < self._plan.hang_up_share
            hang_up_after = self._random.uniform(0.01, 0.5) if leaves else None
            task = asyncio.ensure_future(self._send(request, due, hang_up_after=hang_up_after))
            running.add(task)
            task.add_done_callback(running.discard)
            due += self._random.expovariate(self._plan.rate)
            if due > say_at:
                say_at += _SAY_SECONDS
                good = sum(1 for each in self.exchanges if each.is_good)
                say(f"{due - self.began:5.0f} s: {request.number} sent, {len(self.exchanges)} ended, {good} good")
        await asyncio.gather(*running)
        await self._pool.close()

    async def _send(self, request: Request, due: float, *, hang_up_after: float | None) -> Exchange:
        answer = await self._pool.exchange(
            request.wire, timeout_seconds=hang_up_after or 120, hang_up=hang_up_after is not None
        )
        exchange = note_exchange(request, answer, began=self.began, due=due)
        self.exchanges.append(exchange)
        return exchange


def note_exchange(request: Request, answer: Answer, *, began: float, due: float | None = None) -> Exchange:
    """An exchange without its bodies. began: the load's start; due: when the request should have left."""
    return Exchange(
        kind=request.kind,
        request_id=request.request_id,
        due=(answer.sent if due is None else due) - began,
        sent=answer.sent - began,
        ended=answer.ended - began,
        status=answer.status,
        failure=answer.failure,
        code=read_code(answer),
        has_retry_after="retry-after" in answer.headers,
    )


def read_code(answer: Answer) -> str | None:
    """The code of an error, also of one that ends a stream; None if the answer is none."""
    if answer.status == 200:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            return None
        if b"event: verdict\n" in answer.body:
            return None
        text = answer.body.rpartition(b"event: error\ndata: ")[2].partition(b"\n")[0]
    else:
        text = answer.body
    try:
        return str(json.loads(text)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"
