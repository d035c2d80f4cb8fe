"""First answers: normal ones, and contrastive ones of the same model to perturbed pictures.

A contrastive answer is not called wrong; it is a candidate like the others, only likelier to be mistaken.
"""

import random
from collections.abc import Sequence
from typing import Any, Literal

from genrm.engines.contract import Completion, Engine, Sampling
from training.ipa.asking import Line, Loaded, complete
from training.ipa.prompts import ask_question, ask_with_reference
from training.ipa.settings import IpaConfig

Fate = Literal["kept", "refused", "empty", "cut off", "too long"]
"""What becomes of an answer before anybody looks at what it says."""


async def sample(
    engine: Engine, shard: Sequence[Loaded], told: tuple[Line, ...], seed: int, *, config: IpaConfig, is_guided: bool
) -> dict[str, list[dict[str, Any]]]:
    """Per item its answers: text, fate and perturbation (`blur 0.42`; null for a normal one).

    is_guided: the reference is in view.
    """
    del told
    settings = config.sampled
    asked: list[tuple[str, str | None]] = []
    prompts = []
    for item, images in shard:
        rng = random.Random(f"{seed} {item.id}")
        for number in range(settings.per_item * (2 if config.contrastive else 1)):
            drawn = config.perturbations.draw(rng) if number >= settings.per_item else None
            seen = images if drawn is None else tuple(drawn.apply(image) for image in images)
            prompts.append(
                ask_with_reference(config.prompts, seen, item.question, item.reference)
                if is_guided
                else ask_question(seen, item.question)
            )
            asked.append((item.id, None if drawn is None else str(drawn)))
    completions = await complete(
        engine,
        prompts,
        Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=seed,
            max_tokens=settings.max_tokens,
            labels=(),
        ),
    )
    found: dict[str, list[dict[str, Any]]] = {item.id: [] for item, _ in shard}
    for (item_id, perturbation), completion in zip(asked, completions, strict=True):
        found[item_id].append({**judge_form(completion, max_words=config.max_words), "perturbation": perturbation})
    return found


def judge_form(completion: Completion | None, *, max_words: int) -> dict[str, str]:
    """The text of an answer, and its fate."""
    fate: Fate = "kept"
    text = "" if completion is None else completion.text.strip()
    if completion is None:
        fate = "refused"
    elif not text:
        fate = "empty"
    elif completion.finish_reason == "length":
        fate = "cut off"
    elif len(text.split()) > max_words:
        fate = "too long"
    return {"text": text, "fate": fate}
