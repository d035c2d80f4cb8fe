"""What the reviser does: several feedback texts on each different response, and a revised response after each.

Feedback is asked for more than once per response, so that there are pairs about the same response: feedback that led
to a pass, and feedback that led to a fail. The reviser always sees the picture as it is.
"""

from collections.abc import Sequence
from typing import Any

from genrm.engines.contract import Engine, Sampling
from training.ipa.asking import Line, Loaded, complete
from training.ipa.candidates import first_of_each
from training.ipa.prompts import ask_feedback, ask_revision
from training.ipa.sampling import judge_form
from training.ipa.settings import IpaConfig


async def revise(
    engine: Engine, shard: Sequence[Loaded], told: tuple[Line, ...], seed: int, *, config: IpaConfig, is_guided: bool
) -> dict[str, list[dict[str, Any]]]:
    """Per item its revised responses: text, fate, the response that each is a revision `of`, and the feedback.

    told: the answers of every generator. is_guided: feedback is written with the reference in view.
    """
    settings = config.revision
    found: dict[str, list[dict[str, Any]]] = {item.id: [] for item, _ in shard}
    asked = [
        (item, images, response)
        for item, images in shard
        for response in first_of_each(answer["text"] for line in told for answer in kept(line.get(item.id, ())))
        for _ in range(settings.feedbacks_per_response)
    ]
    feedbacks = await complete(
        engine,
        [
            ask_feedback(
                config.prompts, images, item.question, response, reference=item.reference if is_guided else None
            )
            for item, images, response in asked
        ],
        Sampling(temperature=settings.temperature, seed=seed, max_tokens=settings.max_tokens, labels=()),
    )
    answered = [
        (item, images, response, feedback.text.strip())
        for (item, images, response), feedback in zip(asked, feedbacks, strict=True)
        if feedback is not None and feedback.text.strip() and feedback.finish_reason != "length"
    ]
    revised = await complete(
        engine,
        [
            ask_revision(config.prompts, images, item.question, response, feedback)
            for item, images, response, feedback in answered
        ],
        Sampling(temperature=settings.revision_temperature, seed=seed + 1, max_tokens=settings.max_tokens, labels=()),
    )
    for (item, _, response, feedback), revision in zip(answered, revised, strict=True):
        found[item.id].append(
            {**judge_form(revision, max_words=config.max_words), "of": response, "feedback": feedback}
        )
    return found


def kept(answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose form is all right."""
    return [answer for answer in answers if answer["fate"] == "kept"]
