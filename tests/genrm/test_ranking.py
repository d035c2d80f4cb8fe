"""Tournaments: who wins, by how many judgements, and what strengths come out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm.ranking import STRATEGIES, Strategy, rank


class Bench:
    """Compares candidates by their quality, through a logistic curve, and counts."""

    def __init__(self, qualities: list[float]) -> None:
        self.qualities, self.asked = qualities, list[tuple[int, int]]()

    async def compare(self, i: int, j: int) -> float:
        self.asked.append((i, j))
        return 1 / (1 + math.exp(min(700.0, self.qualities[j] - self.qualities[i])))


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(qualities=st.lists(st.integers(-9, 9), min_size=1, max_size=20, unique=True))
async def test_the_best_candidate_wins(strategy: Strategy, qualities: list[int]) -> None:
    bench = Bench([float(quality) for quality in qualities])
    ranking = await rank(len(qualities), bench.compare, strategy=strategy)
    assert ranking.best == qualities.index(max(qualities))
    assert sorted(ranking.order) == list(range(len(qualities)))
    assert ranking.num_judgements == len(bench.asked)
    assert len({frozenset(pair) for pair in bench.asked}) == len(bench.asked)


async def test_a_knockout_takes_one_judgement_less_than_there_are_candidates() -> None:
    ranking = await rank(13, Bench([0.0] * 13).compare, strategy="knockout")
    assert ranking.num_judgements == 12


async def test_all_pairs_finds_the_whole_order_and_the_strengths_behind_it() -> None:
    ranking = await rank(4, Bench([0.0, 2.0, -1.0, 1.0]).compare, strategy="all_pairs")
    assert ranking.order == (1, 3, 0, 2)
    assert ranking.num_judgements == 6
    differences = [ranking.scores[1] - ranking.scores[i] for i in range(4)]
    assert differences == pytest.approx([2.0, 0.0, 3.0, 1.0], abs=0.05)


async def test_certain_judgements_give_finite_strengths() -> None:
    ranking = await rank(3, Bench([0.0, 800.0, -700.0]).compare, strategy="all_pairs")
    assert all(math.isfinite(score) for score in ranking.scores)


async def test_of_equal_candidates_the_earlier_comes_first() -> None:
    assert (await rank(5, Bench([1.0] * 5).compare, strategy="all_pairs")).order == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_no_candidates_are_refused(strategy: Strategy) -> None:
    with pytest.raises(ValueError, match="0 candidates cannot be ranked"):
        await rank(0, Bench([]).compare, strategy=strategy)
