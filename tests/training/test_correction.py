"""Critiques that experts contradict: corrected, continued, and left alone where that is not possible."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.types import Sighting
from training.correction import MAX_CORRECTIONS, Draft, correct_drafts
from training.critiques import CritiqueConfig
from training.margins import Drawn, mean_probability

FOUND = (Sighting(phrase="dog", places=("upper left",)), Sighting(phrase="cat", places=()))
PROMPT = Prompt(system="", images=(), shared="Question: what is there?\n", tail="")


class Continuer(FakeEngine):
    """Goes on from a prefix with the texts given, one after the other."""

    def __init__(self, *continuations: str) -> None:
        super().__init__()
        self.left = list(continuations)
        self.prefixes: list[str] = []

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """One continuation per prompt."""
        self.prefixes += [prompt.answer_prefix for prompt in prompts]
        plain = await super().complete(prompts, sampling)
        return [replace(completion, text=self.left.pop(0)) for completion in plain]


async def correct(engine: FakeEngine, *texts: str, found: tuple[Sighting, ...] = FOUND) -> list[str | None]:
    drafts = [Draft(prompt=PROMPT, text=text, sightings=found) for text in texts]
    completions = await correct_drafts(engine, drafts, Sampling())
    return [completion.text if completion is not None else None for completion in completions]


async def test_a_wrong_look_up_is_replaced_and_the_model_goes_on_from_there() -> None:
    engine = Continuer(". So a dog First.\nVerdict: First")
    right = "Seen dog: 1 upper left. So a dog First.\nVerdict: First"
    assert await correct(engine, "Seen dog: none. So no dog Second.\nVerdict: Second", right) == [right, None]
    assert engine.prefixes == ["Seen dog: 1 upper left"]


async def test_what_it_then_sees_wrongly_is_corrected_as_well() -> None:
    engine = Continuer("; cat: 1 lower left. So a cat.", ". So a dog.")
    assert await correct(engine, "Seen dog: none; cat: none.") == ["Seen dog: 1 upper left; cat: none. So a dog."]
    assert engine.prefixes == ["Seen dog: 1 upper left", "Seen dog: 1 upper left; cat: none"]


async def test_one_that_goes_wrong_again_and_again_is_given_up() -> None:
    again = "; dog: none."
    [text] = await correct(Continuer(*[again] * MAX_CORRECTIONS), "Seen dog: none.")
    assert text is not None
    assert text.endswith("dog: none.")


async def test_prose_and_pictures_that_no_expert_saw_are_left_alone() -> None:
    assert await correct(Continuer(), "I see no dog.", "Seen dog: red mat.") == [None, None]
    assert await correct(Continuer(), "Seen dog: none.", found=()) == [None]


def test_how_much_is_left_to_learn_is_told_by_what_the_judge_wrote_itself() -> None:
    drawn = Drawn(pair_id="p", group="", label="A", first="A", text="", probability=0.9, is_corrected=True, unaided=0.1)
    assert mean_probability([drawn]) == 0.1
    assert mean_probability([replace(drawn, is_corrected=False)]) == 0.9


def test_corrections_need_the_model_in_this_process() -> None:
    values = {"output": "unused", "pairs": "unused", "max_hint_dependence": None, "correct_by_experts": True}
    CritiqueConfig.model_validate(values)
    with pytest.raises(ValueError, match="set correct_by_experts to false"):
        CritiqueConfig.model_validate(values | {"engine": {"url": "http://localhost:1/v1"}})
