"""Ranking several candidates by judging them in pairs.

A tournament asks, round by round, for P(i is better than j) of pairs of candidates; where that comes from is not its
business. `all_pairs` asks for every pair; `knockout` for n − 1: winners meet winners; `swiss` in rounds in which
neighbours of the present ranking meet, nobody the same one twice; `auto` takes the most thorough of them that the
budget allows. A judgement covers both orders of two candidates and is asked for once.

Whatever was asked, Bradley–Terry strengths are fitted to the probabilities (an outcome of 0.8 is 0.8 of a win), through
the library choix; they give order and win probabilities. Win counts would do for all pairs only.
"""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Literal, get_args

import numpy as np

from genrm.errors import InvalidComparisonError

Strategy = Literal["all_pairs", "swiss", "knockout"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
StrategyChoice = Literal["auto", "all_pairs", "swiss", "knockout"]

Pair = tuple[int, int]
Compare = Callable[[Sequence[Pair]], Awaitable[Sequence[float]]]
"""Asked as `await compare([(i, j), …])`, i < j: per pair the probability that candidate i is better than candidate j;
0.5 where nothing can be said."""

_PRIOR = 0.001
"""choix's regularisation: every candidate beats every other a little, which keeps strengths finite."""
_SUREST = 0.999
"""An outcome counts as no surer than this: strengths then stay apart by what was judged and not by rounding."""
_SWISS_SHARE = 0.4
"""Of all pairs, what Swiss rounds ask for unless there is a budget."""
_MAX_CANDIDATES_FOR_ALL_PAIRS = 8
"""Of `auto` without a budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """One judgement. one < other; probability: that the candidate `one` is the better one."""

    one: int
    other: int
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Candidates in order.

    order: indices, best first. scores: by candidate, the log of its Bradley–Terry strength; they sum to 0. matches: as
    they were asked for. strategy: that was followed.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    matches: tuple[Match, ...]
    strategy: Strategy

    @property
    def best(self) -> int:
        """Index of the best candidate."""
        return self.order[0]

    @property
    def num_judgements(self) -> int:
        """Comparisons asked for."""
        return len(self.matches)

    def win_probabilities(self) -> tuple[float, ...]:
        """By candidate: how probably it is better than another one drawn at random, in (0, 1); 0.5 for one alone."""
        strengths = np.array(self.scores)
        if len(strengths) == 1:
            return (0.5,)
        beats = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
        return tuple(float(value) for value in (beats.sum(axis=1) - 0.5) / (len(strengths) - 1))

    def cycles(self) -> tuple[tuple[int, ...], ...]:
        """Sets of at least three candidates each of which is preferred to each other, directly or by way of others:
        there no order does justice to all judgements. Indices ascend.
        """
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        edges = [(m.one, m.other) if m.probability > 0.5 else (m.other, m.one) for m in self.matches]
        edges = [edge for edge, match in zip(edges, self.matches, strict=True) if match.probability != 0.5]
        if not edges:
            return ()
        rows, columns = zip(*edges, strict=True)
        size = len(self.scores)
        graph = csr_array((np.ones(len(edges)), (rows, columns)), shape=(size, size))
        _, labels = connected_components(graph, directed=True, connection="strong")
        members: dict[int, list[int]] = {}
        for index, label in enumerate(labels):
            members.setdefault(int(label), []).append(index)
        return tuple(tuple(each) for each in members.values() if len(each) > 1)


async def rank(
    num_candidates: int, compare: Compare, *, strategy: StrategyChoice = "auto", budget: int | None = None
) -> Ranking:
    """Rank candidates 0 … num_candidates − 1; of equal ones the earlier comes first.

    budget: most judgements to ask for. Raises ValueError for no candidates, and InvalidComparisonError for a budget
    with which the strategy cannot give everybody a place.
    """
    if num_candidates < 1:
        raise ValueError(f"{num_candidates} candidates cannot be ranked; at least one is needed.")
    chosen = choose_strategy(num_candidates, strategy=strategy, budget=budget)
    if num_candidates == 1:
        return Ranking(order=(0,), scores=(0.0,), matches=(), strategy=chosen)
    tournament = _Tournament(num_candidates, compare)
    if chosen == "all_pairs":
        await tournament.play(list(itertools.combinations(range(num_candidates), 2)))
    elif chosen == "knockout":
        await _knock_out(tournament)
    else:
        await _play_swiss(tournament, _swiss_budget(num_candidates) if budget is None else budget)
    strengths = tournament.strengths()
    return Ranking(
        order=_order(strengths),
        scores=strengths,
        matches=tuple(tournament.matches),
        strategy=chosen,
    )


def load_solver() -> None:
    """Import the library that fits strengths, which takes a second or two, before anybody waits for it."""
    import choix  # noqa: F401 - for its effect


def choose_strategy(num_candidates: int, *, strategy: StrategyChoice = "auto", budget: int | None = None) -> Strategy:
    """The strategy that `rank` follows. Raises InvalidComparisonError as it does.

    `auto` takes all pairs if the budget has room for them (without one: for up to 8 candidates), Swiss rounds if it has
    room for as many rounds as a knockout has, else a knockout.
    """
    num_pairs, least = num_candidates * (num_candidates - 1) // 2, num_candidates - 1
    if strategy == "auto":
        if budget is None:
            return "all_pairs" if num_candidates <= _MAX_CANDIDATES_FOR_ALL_PAIRS else "swiss"
        if budget >= num_pairs:
            return "all_pairs"
        rounds = ceil(log2(max(num_candidates, 2)))
        strategy = "swiss" if budget >= max(num_candidates, rounds * (num_candidates // 2)) else "knockout"
    needed = num_pairs if strategy == "all_pairs" else least
    if budget is not None and budget < needed:
        raise InvalidComparisonError(
            f"The budget is {budget} judgements; {strategy} of {num_candidates} candidates needs at least {needed}. "
            f"Raise it, send fewer candidates, or leave strategy out (which needs {least}).",
            param="budget",
        )
    return strategy


def count_judgements(num_candidates: int, *, strategy: StrategyChoice = "auto", budget: int | None = None) -> int:
    """How many judgements `rank` asks for, at most. Raises InvalidComparisonError as it does."""
    chosen = choose_strategy(num_candidates, strategy=strategy, budget=budget)
    num_pairs = num_candidates * (num_candidates - 1) // 2
    if chosen == "all_pairs":
        return num_pairs
    if chosen == "knockout":
        return num_candidates - 1
    return min(num_pairs, _swiss_budget(num_candidates) if budget is None else budget)


class _Tournament:
    """The matches so far, and what they say."""

    def __init__(self, num_candidates: int, compare: Compare) -> None:
        self.num_candidates = num_candidates
        self._compare = compare
        self.matches: list[Match] = []

    async def play(self, pairs: Sequence[Pair]) -> list[Match]:
        """Ask for these pairs, none of which was asked for before."""
        ordered = [(min(pair), max(pair)) for pair in pairs]
        found = await self._compare(ordered)
        new = [
            Match(one=i, other=j, probability=float(probability))
            for (i, j), probability in zip(ordered, found, strict=True)
        ]
        self.matches += new
        return new

    def strengths(self) -> tuple[float, ...]:
        """Log of the Bradley–Terry strengths that the matches give; they sum to 0."""
        from choix import ilsr_pairwise_dense

        wins = np.zeros((self.num_candidates, self.num_candidates))
        for match in self.matches:
            probability = min(max(match.probability, 1 - _SUREST), _SUREST)
            wins[match.one, match.other], wins[match.other, match.one] = probability, 1 - probability
        return tuple(float(value) for value in ilsr_pairwise_dense(wins, alpha=_PRIOR, max_iter=1000))


def _order(strengths: Sequence[float]) -> tuple[int, ...]:
    """Indices, strongest first; of equal ones, but for rounding of the fit, the earlier."""
    return tuple(sorted(range(len(strengths)), key=lambda index: -round(strengths[index], 6)))


async def _knock_out(tournament: _Tournament) -> None:
    standing = list(range(tournament.num_candidates))
    while len(standing) > 1:
        pairs = list(zip(standing[::2], standing[1::2], strict=False))
        without_opponent = standing[2 * len(pairs) :]
        found = await tournament.play(pairs)
        winners = [match.one if match.probability >= 0.5 else match.other for match in found]
        standing = without_opponent + winners  # in front, so that nobody goes on without a match twice running


def _swiss_budget(num_candidates: int) -> int:
    return max(num_candidates - 1, int(_SWISS_SHARE * num_candidates * (num_candidates - 1) / 2))


async def _play_swiss(tournament: _Tournament, budget: int) -> None:
    order: Sequence[int] = range(tournament.num_candidates)
    num_byes = [0] * tournament.num_candidates
    while (left := budget - len(tournament.matches)) > 0:
        pairs = _pair_neighbours(order, {(match.one, match.other) for match in tournament.matches}, num_byes)
        if not pairs:
            return
        await tournament.play(pairs[:left])  # the top of the ranking first
        order = _order(tournament.strengths())


def _pair_neighbours(order: Sequence[int], met: set[Pair], num_byes: list[int]) -> list[Pair]:
    """Everybody with the nearest one below that they have not met. Of an odd number, one who has had the fewest rounds
    off, from the end of the ranking, has this one off.
    """
    waiting = list(order)
    if len(waiting) % 2:
        fewest = min(num_byes)
        off = next(index for index in reversed(waiting) if num_byes[index] == fewest)
        num_byes[off] += 1
        waiting.remove(off)
    pairs = []
    while waiting:
        one = waiting.pop(0)
        partner = next((other for other in waiting if (min(one, other), max(one, other)) not in met), None)
        if partner is not None:
            waiting.remove(partner)
            pairs.append((one, partner))
    return pairs
