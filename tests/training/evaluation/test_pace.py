"""A caller runs as much at once as a service takes."""

import asyncio

from training.evaluation.pace import Pace


async def test_no_more_run_than_there_are_slots() -> None:
    pace, most = Pace(most=3), 0

    async def work() -> None:
        nonlocal most
        async with pace.take():
            most = max(most, pace.num_running)
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 3
    assert pace.num_running == 0


def test_answers_let_more_run_and_a_full_service_halves_it() -> None:
    pace = Pace(most=100)
    for _ in range(200):
        pace.speed_up()
    before = pace.slots
    assert before > 15
    pace.slow_down()
    assert pace.slots == before // 2
    for _ in range(100_000):
        pace.speed_up()
    assert pace.slots == 100


def test_one_round_of_refusals_counts_once() -> None:
    pace = Pace()
    for _ in range(100):
        pace.speed_up()
    pace.num_running = 10
    before = pace.slots
    for _ in range(10):
        pace.slow_down()
    assert pace.slots == before // 2
    for _ in range(1_000):
        pace.slow_down()
    assert pace.slots == 1
