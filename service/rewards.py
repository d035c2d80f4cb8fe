"""The judge as a reward function for TRL's GRPO trainer: the completions of one prompt are ranked.

    from service.rewards import ranking_reward

    trainer = GRPOTrainer(model, reward_funcs=ranking_reward("http://127.0.0.1:8000"), …)

A pairwise judge has no absolute scale, and a group of completions needs none: the reward of each is the probability
that it is better than another one of its group. A group about which the judge can say nothing gets None, which TRL
leaves out. Imports neither TRL nor torch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Unpack

from PIL.Image import Image

from genrm.media import hash_image
from service.client import DEFAULT_URL, AsyncClient
from service.exchange import Picture, RankOptions
from service.rerank_schemas import RerankResponse

Reward = Callable[..., Awaitable[list[float | None]]]


class RewardInputError(ValueError):
    """A prompt of the trainer has no image or no text. The message says which; mend the dataset."""


def ranking_reward(
    url: str = DEFAULT_URL,
    *,
    api_key: str | None = None,
    timeout_seconds: float = 600.0,
    **options: Unpack[RankOptions],
) -> Reward:
    """An asynchronous reward function that asks a running service.

    options: as of `Client.rerank`, e.g. `strategy="swiss"` or `mode="fast"`. The function takes `prompts` and
    `completions`, texts or conversations, and the dataset's columns, of which `image` or `images` is read where the
    prompts hold no pictures. It returns a reward in [0, 1] per completion, None for groups without any verdict and for
    completions that are alone with their prompt. Raises RewardInputError, and ServiceError if the service refuses or
    cannot be reached.

    Source: the contract of TRL's `reward_funcs` (GRPOTrainer). Neighbouring prompts that are equal, images included,
    are a group; whether images are equal, their pixels say, since the trainer decodes them anew for every completion.
    """

    async def vl_genrm(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        **columns: Any,  # noqa: ANN401
    ) -> list[float | None]:
        asked = [(_question_of(prompt), _pictures_of(prompt, columns, index)) for index, prompt in enumerate(prompts)]
        texts = [_text_of(completion) for completion in completions]
        groups = [list(members) for _, members in groupby(range(len(asked)), key=lambda index: _key(asked[index]))]
        async with AsyncClient(url, api_key=api_key, timeout_seconds=timeout_seconds) as client:

            async def rank(members: Sequence[int]) -> list[float | None]:
                question, pictures = asked[members[0]]
                # An empty completion is what an untrained policy may well write, and no judge compares it.
                candidates = [texts[index] if texts[index].strip() else "(no answer)" for index in members]
                if len(members) == 1:
                    return [None]
                ranking = await client.rerank(pictures, question=question, candidates=candidates, **options)
                return _rewards(ranking, len(members))

            found = await asyncio.gather(*(rank(members) for members in groups))
        return [reward for rewards in found for reward in rewards]

    return vl_genrm


def _rewards(ranking: RerankResponse, size: int) -> list[float | None]:
    if ranking.judgements and ranking.abstained == ranking.judgements:
        return [None] * size
    scores = {result.index: result.relevance_score for result in ranking.results}
    return [scores.get(index) for index in range(size)]


def _key(asked: tuple[str, list[Picture]]) -> tuple[str, tuple[Any, ...]]:
    question, pictures = asked
    return question, tuple(hash_image(each) if isinstance(each, Image) else each for each in pictures)


def _question_of(prompt: Any) -> str:  # noqa: ANN401 - a text or a conversation
    """The text of the last turn of the user."""
    turns = [] if isinstance(prompt, str) else [turn for turn in prompt if turn.get("role") == "user"]
    text = prompt if isinstance(prompt, str) else _text_of(turns[-1:])
    if not text.strip():
        raise RewardInputError(f"A prompt has no text of a user: {str(prompt)[:80]!r}. Mend the column 'prompt'.")
    return text.strip()


def _text_of(value: Any) -> str:  # noqa: ANN401 - a text or a conversation
    """The text of a completion, or of a conversation's last turn."""
    if isinstance(value, str):
        return value
    content = value[-1]["content"] if value else ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text" and part.get("text"))


def _pictures_of(prompt: Any, columns: Mapping[str, Any], index: int) -> list[Picture]:  # noqa: ANN401
    turns = () if isinstance(prompt, str) else prompt
    parts = [part for turn in turns if isinstance(turn["content"], list) for part in turn["content"]]
    pictures: list[Picture] = [part["image"] for part in parts if part.get("type") == "image" and part.get("image")]
    if not pictures:
        for name in ("images", "image"):
            value = columns[name][index] if name in columns else None
            if value is not None:
                pictures = list(value) if isinstance(value, list | tuple) else [value]
                break
    if not pictures:
        raise RewardInputError(
            f"Prompt {index} has no image. Give the dataset a column 'image' or 'images', or images in its prompts."
        )
    return pictures
