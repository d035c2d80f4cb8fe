"""Ranking several candidates by judging them in pairs.

A tournament asks for P(i is better than j) of two candidates at a time; where that comes from is not its business.
`all_pairs` asks for every pair once (a judgement covers both orders) and fits Bradley–Terry strengths to the
probabilities, through the library choix. `knockout` asks n − 1 times: winners meet winners, and the best is known, the
rest only by the round they left in.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Strategy = Literal["all_pairs", "knockout"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

Compare = Callable[[int, int], Awaitable[float]]
"""Asked as `await compare(i, j)`: the probability that candidate i is better than candidate j."""

_PRIOR = 0.001
"""choix's regularisation: every candidate beats every other a little, which keeps strengths finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Candidates in order.

    order: indices, best first. scores: by candidate, higher is better; of `all_pairs` the log of its strength (they
    sum to 0), of `knockout` the rounds it survived. num_judgements: comparisons asked for.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    num_judgements: int

    @property
    def best(self) -> int:
        """Index of the best candidate."""
        return self.order[0]


async def rank(num_candidates: int, compare: Compare, *, strategy: Strategy) -> Ranking:
    """Rank candidates 0 … num_candidates − 1; of equal ones the earlier comes first. Raises ValueError for none."""
    if num_candidates < 1:
        raise ValueError(f"{num_candidates} candidates cannot be ranked; at least one is needed.")
    if num_candidates == 1:
        return Ranking(order=(0,), scores=(0.0,), num_judgements=0)
    scores, num = await (_rank_all_pairs if strategy == "all_pairs" else _knock_out)(num_candidates, compare)
    order = sorted(range(num_candidates), key=lambda index: -round(scores[index], 9))  # the fit leaves rounding errors
    return Ranking(order=tuple(order), scores=tuple(scores), num_judgements=num)


async def _rank_all_pairs(num_candidates: int, compare: Compare) -> tuple[list[float], int]:
    from choix import ilsr_pairwise_dense

    pairs = list(itertools.combinations(range(num_candidates), 2))
    found = await asyncio.gather(*(compare(i, j) for i, j in pairs))
    wins = np.zeros((num_candidates, num_candidates))
    for (i, j), probability in zip(pairs, found, strict=True):
        wins[i, j], wins[j, i] = probability, 1 - probability
    return [float(value) for value in ilsr_pairwise_dense(wins, alpha=_PRIOR)], len(pairs)


async def _knock_out(num_candidates: int, compare: Compare) -> tuple[list[float], int]:
    standing, survived = list(range(num_candidates)), [0.0] * num_candidates
    while len(standing) > 1:
        matches = list(zip(standing[::2], standing[1::2], strict=False))
        without_opponent = standing[2 * len(matches) :]
        found = await asyncio.gather(*(compare(i, j) for i, j in matches))
        winners = [i if probability >= 0.5 else j for (i, j), probability in zip(matches, found, strict=True)]
        standing = without_opponent + winners  # in front, so that nobody goes on without a match twice running
        for index in standing:
            survived[index] += 1
    return survived, num_candidates - 1
