"""Claims asked of a language model: what its answer may look like, and what makes it unreadable."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.claim_extractors.engine_extractor import EngineExtractor, read_answer
from experts.claims import Claim, ClaimsUnreadableError
from experts.lexicon import default_lexicon
from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError, GenRMError


class ScriptedEngine(FakeEngine):
    """Writes one given answer, and keeps what it was asked."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[Prompt, Sampling]] = []

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """The scripted answer to every prompt."""
        self.asked += [(prompt, sampling) for prompt in prompts]
        return [
            Completion(
                text=self.answer,
                label_logprobs=None,
                finish_reason="stop",
                prompt_tokens=1,
                completion_tokens=1,
                cached_tokens=0,
            )
            for _ in prompts
        ]


def affirm(name: str, count: int | None, mention: str) -> Claim:
    is_exact = count is not None and count > 1
    is_narrower = is_exact and mention == "puppies"
    return Claim(
        name=name, polarity="affirmed", count=count, is_exact=is_exact, is_narrower=is_narrower, mention=mention
    )


TEXT = "Two puppies lie on a sofa. There is no cat."
ANSWER = [
    {"name": "dog", "polarity": "affirmed", "count": 2, "mention": "puppies"},
    {"name": "Couch", "polarity": "affirmed", "count": 1, "mention": "sofa"},
    {"name": "cats", "polarity": "denied", "count": 0, "mention": "cat"},
]


@pytest.mark.parametrize("form", ["{}", "Here you are:\n```json\n{}\n```", "[1] As a list: {} Done."])
async def test_a_list_is_read_whatever_stands_around_it(form: str) -> None:
    claims = await EngineExtractor(ScriptedEngine(form.format(json.dumps(ANSWER)))).extract(TEXT)
    assert claims == (
        affirm("dog", 2, "puppies"),
        affirm("couch", 1, "sofa"),
        Claim(name="cat", polarity="denied", count=None, mention="cat"),
    )


async def test_the_model_is_asked_for_plain_text_about_the_neutralised_text_without_images() -> None:
    engine = ScriptedEngine("[]")
    assert await EngineExtractor(engine, max_tokens=77).extract("A dog <|im_end|> barks.") == ()
    ((prompt, sampling),) = engine.asked
    assert sampling.labels == ()
    assert sampling.max_tokens == 77
    assert prompt.images == ()
    assert "<|im_end|>" not in prompt.tail
    assert "teddy bear" in prompt.shared


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "There are two dogs.",
        "[",
        '[{"name": "dog", "polarity": "affirmed"',
        '[{"name": "dog"}]',
        '[{"name": "dog", "polarity": "maybe"}]',
        '[{"name": 5, "polarity": "denied"}]',
        "[" * 100_000,
        '["dog"]',
    ],
)
async def test_an_answer_without_a_list_of_claims_is_unreadable(answer: str) -> None:
    with pytest.raises(ClaimsUnreadableError):
        await EngineExtractor(ScriptedEngine(answer)).extract(TEXT)


async def test_a_model_that_does_not_follow_instructions_is_unreadable() -> None:
    with pytest.raises(ClaimsUnreadableError, match="holds no JSON list"):
        await EngineExtractor(FakeEngine()).extract(TEXT)


async def test_what_the_engine_raises_reaches_the_caller_as_a_foreseen_failure() -> None:
    with pytest.raises(GenRMError):
        await EngineExtractor(FakeEngine(failure=EngineError("gone"))).extract(TEXT)


def test_objects_outside_the_lexicon_and_words_outside_the_text_are_dropped() -> None:
    answer = [
        {"name": "unicorn", "polarity": "affirmed", "mention": "puppies"},
        {"name": "zebra", "polarity": "affirmed", "mention": "zebra"},
        {"name": "dog", "polarity": "affirmed", "mention": ["puppies"]},
    ]
    assert list(read_answer(json.dumps(answer), TEXT, default_lexicon())) == []


@pytest.mark.parametrize("count", [None, -1, 2.5, "two", True, [2]])
def test_a_count_that_is_no_positive_number_is_left_open(count: object) -> None:
    answer = [{"name": "cat", "polarity": "affirmed", "count": count}]
    assert list(read_answer(json.dumps(answer), TEXT, default_lexicon())) == [affirm("cat", None, "cat")]


async def test_entries_of_one_name_become_one_claim() -> None:
    answer = [
        {"name": "dog", "polarity": "denied", "mention": "puppies"},
        {"name": "dog", "polarity": "affirmed", "count": 2, "mention": "puppies"},
        {"name": "dog", "polarity": "affirmed", "count": 3, "mention": "puppies"},
    ]
    assert await EngineExtractor(ScriptedEngine(json.dumps(answer))).extract(TEXT) == (affirm("dog", None, "puppies"),)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_answer_is_read_or_refused(answer: str) -> None:
    try:
        claims = list(read_answer(answer, TEXT, default_lexicon()))
    except ClaimsUnreadableError:
        return
    assert claims == []
