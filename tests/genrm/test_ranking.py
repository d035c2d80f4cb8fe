"""Tournaments: who wins, by how many judgements, and what strengths come out."""

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm.errors import InvalidComparisonError
from genrm.ranking import STRATEGIES, Ranking, Strategy, StrategyChoice, choose_strategy, count_judgements, rank


class Bench:
    """Compares candidates by their quality, through a logistic curve, and counts."""

    def __init__(self, qualities: Sequence[float]) -> None:
        self.qualities, self.asked, self.num_rounds = qualities, list[tuple[int, int]](), 0

    async def compare(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        self.num_rounds += 1
        self.asked += pairs
        return [1 / (1 + math.exp(min(700.0, self.qualities[j] - self.qualities[i]))) for i, j in pairs]


def assert_sound(ranking: Ranking, bench: Bench) -> None:
    assert sorted(ranking.order) == list(range(len(bench.qualities)))
    assert [(match.one, match.other) for match in ranking.matches] == bench.asked
    assert all(i < j for i, j in bench.asked)
    assert len(set(bench.asked)) == len(bench.asked) == ranking.num_judgements
    assert sum(ranking.scores) == pytest.approx(0, abs=1e-4)
    assert all(0 < chance < 1 for chance in ranking.win_probabilities())


@pytest.mark.parametrize("strategy", ["all_pairs", "knockout"])
@given(qualities=st.lists(st.integers(-9, 9), min_size=1, max_size=20, unique=True))
async def test_the_best_candidate_wins(strategy: Strategy, qualities: list[int]) -> None:
    bench = Bench([float(quality) for quality in qualities])
    ranking = await rank(len(qualities), bench.compare, strategy=strategy)
    assert ranking.best == qualities.index(max(qualities))
    assert ranking.num_judgements == count_judgements(len(qualities), strategy=strategy)
    assert_sound(ranking, bench)


@given(qualities=st.lists(st.floats(-800, 800), min_size=1, max_size=24), data=st.data())
async def test_swiss_rounds_keep_to_their_budget_and_let_nobody_meet_twice(
    qualities: list[float], data: st.DataObject
) -> None:
    size = len(qualities)
    budget = data.draw(st.one_of(st.none(), st.integers(size - 1, size * size)))
    bench = Bench(qualities)
    ranking = await rank(size, bench.compare, strategy="swiss", budget=budget)
    num_pairs = size * (size - 1) // 2
    most = min(num_pairs, max(size - 1, int(0.4 * num_pairs)) if budget is None else budget)
    assert ranking.num_judgements <= most == count_judgements(size, strategy="swiss", budget=budget)
    assert_sound(ranking, bench)
    if size > 1 and ranking.num_judgements >= size:
        assert len({index for pair in bench.asked for index in pair}) == size


async def test_swiss_rounds_find_the_best_of_eight_with_two_fifths_of_the_judgements() -> None:
    rng = random.Random(0)
    for _ in range(50):
        qualities = [3.0 * quality for quality in rng.sample(range(8), 8)]
        bench = Bench(qualities)
        ranking = await rank(8, bench.compare, strategy="swiss")
        assert ranking.best == qualities.index(max(qualities))
        assert ranking.num_judgements == 11
        assert bench.num_rounds == 3


async def test_a_knockout_takes_one_judgement_less_than_there_are_candidates() -> None:
    ranking = await rank(13, Bench([0.0] * 13).compare, strategy="knockout")
    assert ranking.num_judgements == 12
    assert ranking.best == 0


async def test_all_pairs_finds_the_whole_order_and_the_strengths_behind_it() -> None:
    bench = Bench([0.0, 2.0, -1.0, 1.0])
    ranking = await rank(4, bench.compare, strategy="all_pairs")
    assert ranking.order == (1, 3, 0, 2)
    assert (ranking.num_judgements, bench.num_rounds) == (6, 1)
    differences = [ranking.scores[1] - ranking.scores[i] for i in range(4)]
    assert differences == pytest.approx([2.0, 0.0, 3.0, 1.0], abs=0.05)


async def test_win_probabilities_are_means_over_the_others() -> None:
    """Of strengths 0 and ln 3 each beats the other with 1/4 and 3/4."""
    ranking = Ranking(order=(1, 0), scores=(-math.log(3) / 2, math.log(3) / 2), matches=(), strategy="all_pairs")
    assert ranking.win_probabilities() == pytest.approx((0.25, 0.75))
    assert (await rank(1, Bench([0.0]).compare)).win_probabilities() == (0.5,)


async def test_certain_judgements_give_finite_strengths() -> None:
    ranking = await rank(3, Bench([0.0, 800.0, -700.0]).compare, strategy="all_pairs")
    assert all(math.isfinite(score) for score in ranking.scores)


async def test_of_equal_candidates_the_earlier_comes_first() -> None:
    assert (await rank(5, Bench([1.0] * 5).compare, strategy="all_pairs")).order == (0, 1, 2, 3, 4)


async def test_preferences_that_run_in_a_circle_are_reported() -> None:
    beats = {(0, 1): 0.9, (1, 2): 0.8, (0, 2): 0.3, (0, 3): 0.9, (1, 3): 0.9, (2, 3): 0.5}

    async def compare(pairs: Sequence[tuple[int, int]]) -> list[float]:
        return [beats[pair] for pair in pairs]

    ranking = await rank(4, compare, strategy="all_pairs")
    assert ranking.cycles() == ((0, 1, 2),)
    assert (await rank(4, Bench([0.0, 1.0, 2.0, 3.0]).compare, strategy="all_pairs")).cycles() == ()


@pytest.mark.parametrize(
    ("num_candidates", "budget", "chosen"),
    [
        (2, None, "all_pairs"), (8, None, "all_pairs"), (9, None, "swiss"),
        (8, 28, "all_pairs"), (8, 27, "swiss"), (8, 12, "swiss"), (8, 11, "knockout"), (8, 7, "knockout"),
        (1, 0, "all_pairs"),
    ],
)  # fmt: skip
def test_auto_is_as_thorough_as_the_budget_allows(num_candidates: int, budget: int | None, chosen: str) -> None:
    assert choose_strategy(num_candidates, budget=budget) == chosen


@pytest.mark.parametrize(
    ("strategy", "budget", "needed"), [("all_pairs", 27, 28), ("swiss", 6, 7), ("knockout", 6, 7), ("auto", 6, 7)]
)
def test_a_budget_that_is_too_small_is_refused(strategy: StrategyChoice, budget: int, needed: int) -> None:
    with pytest.raises(InvalidComparisonError, match=f"budget is {budget} judgements; .* needs at least {needed}"):
        choose_strategy(8, strategy=strategy, budget=budget)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_no_candidates_are_refused(strategy: Strategy) -> None:
    with pytest.raises(ValueError, match="0 candidates cannot be ranked"):
        await rank(0, Bench([]).compare, strategy=strategy)
