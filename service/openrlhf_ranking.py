"""Rewards for OpenRLHF: the rows of one prompt are ranked, as `service.rewards` does it for TRL.

A reward is the probability of being better than another answer to the same prompt. OpenRLHF takes no missing rewards,
so what says nothing is 0.5 and told in `extra_logs`; a request in which no row has a rival is refused, since a policy
would learn nothing of it and nobody would be told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from genrm.best_of_n import count_most_at_once
from genrm.ranking import StrategyChoice
from service.connection import cancel_all
from service.errors import RefusalError
from service.openrlhf_rows import Row
from service.openrlhf_schemas import RewardLogs, RewardResponse
from service.rerank_schemas import RerankResponse

_MAX_GROUPS_AT_ONCE = 2
_NEUTRAL = 0.5


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows about one question and the same images. members: their places in the request."""

    rows: tuple[Row, ...]
    members: tuple[int, ...]

    @property
    def candidates(self) -> list[str]:
        """The answers of all rows in their order, and the reference behind them."""
        reference = self.rows[0].reference
        return [row.answer for row in self.rows] + ([] if reference is None else [reference])

    @property
    def is_alone(self) -> bool:
        """Whether there is nothing to compare."""
        return len(self.candidates) < 2


RankGroup = Callable[[Group], Awaitable[RerankResponse]]


def group_rows(rows: Sequence[Row], *, max_candidates: int) -> tuple[Group, ...]:
    """Rows by question, images and reference. Raises RefusalError for a group too large, and if all rows are alone."""
    members: dict[tuple[object, ...], list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(row.key, []).append(index)
    groups = tuple(
        Group(rows=tuple(rows[index] for index in group), members=tuple(group)) for group in members.values()
    )
    for group in groups:
        if len(group.candidates) > max_candidates:
            raise RefusalError(
                "invalid_value",
                f"{len(group.candidates)} answers are about the prompt of row {group.members[0]}; the limit is "
                f"{max_candidates}. Sample fewer, or raise GENRM_MAX_CANDIDATES.",
                param="query",
            )
    if groups and all(group.is_alone for group in groups):
        raise RefusalError(
            "invalid_value",
            "No row has another completion of its prompt, or a reference, to be compared with; this judge compares. "
            "Give each label a 'reference' answer (OpenRLHF from 0.9.1 on sends every completion in a request of its "
            "own), or send the completions of a prompt together.",
            param="query",
        )
    return groups


def count_most_judgements_at_once(groups: Sequence[Group], *, strategy: StrategyChoice) -> int:
    """How many judgements of such a request the engine is given at once, at most."""
    counts = sorted(count_most_at_once(group.candidates, strategy=strategy) for group in groups)
    return sum(counts[-_MAX_GROUPS_AT_ONCE:])


async def reward_groups(groups: Sequence[Group], num_rows: int, rank: RankGroup, *, with_logs: bool) -> RewardResponse:
    """The rewards of all rows. rank: ranks the candidates of one group; what it raises ends all groups."""
    rewards, abstained, alone = ([value] * num_rows for value in (_NEUTRAL, 0.0, 0.0))
    gate = asyncio.Semaphore(_MAX_GROUPS_AT_ONCE)

    async def reward(group: Group) -> None:
        if group.is_alone:
            for index in group.members:
                alone[index] = 1.0
            return
        async with gate:
            ranking = await rank(group)
        scores = {result.index: result.relevance_score for result in ranking.results}
        for place, index in enumerate(group.members):
            rewards[index] = scores[place]
            abstained[index] = ranking.abstained / ranking.judgements if ranking.judgements else 0.0

    tasks = [asyncio.ensure_future(reward(group)) for group in groups]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancel_all(*tasks)
    logs = RewardLogs(genrm_abstained=tuple(abstained), genrm_alone=tuple(alone))
    return RewardResponse(rewards=tuple(rewards), scores=tuple(rewards), extra_logs=logs if with_logs else None)
