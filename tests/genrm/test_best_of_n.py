"""Best-of-N with a judge: who wins, what it costs, what experts are asked, and what becomes of odd candidates."""

import asyncio
import re
from collections.abc import Sequence
from math import log

import pytest
from PIL import Image

from experts.fake import FakeExpert
from experts.panel import ExpertPanel
from genrm.best_of_n import BestOfN, count_most_at_once, rank_candidates
from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError, InputTooLongError, InvalidComparisonError
from genrm.judge import Judge, JudgeOptions

PICTURE = Image.new("RGB", (56, 56), "teal")


class Larger(FakeEngine):
    """Prefers the response with the larger number; writes no verdict about `unread`. Remembers its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Sequence[Prompt]] = []

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per prompt."""
        del sampling, on_text
        self.calls.append(prompts)
        return [self._read(prompt) for prompt in prompts]

    @staticmethod
    def _read(prompt: Prompt) -> Completion:
        if "unread" in prompt.tail:
            logprobs, text = None, "I cannot say."
        else:
            one, other = (int(number) for number in re.findall(r"(\d+)", prompt.tail))
            first = 0.9 if one > other else 0.1 if one < other else 0.5
            logprobs = (log(first), log(1 - first))
            text = f"Counted.\nVerdict: {'First' if one >= other else 'Second'}"
        return Completion(
            text=text, label_logprobs=logprobs, finish_reason="stop", prompt_tokens=10, completion_tokens=2,
            cached_tokens=4,
        )  # fmt: skip


def judge(engine: FakeEngine | None = None, *, panel: ExpertPanel | None = None) -> Judge:
    return Judge(engine or Larger(), verifier=panel)


async def rank_numbers(given: Judge, numbers: Sequence[int | str], **options: object) -> BestOfN:
    texts = [f"I count {number}." for number in numbers]
    return await rank_candidates(given, (PICTURE,), "How many?", texts, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["auto", "all_pairs", "swiss", "knockout"])
async def test_the_best_candidate_comes_first(strategy: str) -> None:
    engine = Larger()
    found = await rank_numbers(judge(engine), [3, 1, 4, 15, 9, 2, 6], strategy=strategy)
    assert found.standings[0].index == 3
    assert len(found.standings) == 7
    chances = [round(each.win_probability, 5) for each in found.standings]
    assert chances == sorted(chances, reverse=True)
    assert sum(map(len, engine.calls)) == 2 * found.num_judgements
    assert found.consistency == 1.0
    assert found.usage.prompt_tokens == 20 * found.num_judgements
    assert found.cycles == ()


async def test_wins_and_losses_are_those_of_the_judgements() -> None:
    found = await rank_numbers(judge(), [3, 1, 4], strategy="all_pairs")
    assert [(each.index, each.wins, each.losses, each.ties) for each in found.standings] == [
        (2, 2, 0, 0), (0, 1, 1, 0), (1, 0, 2, 0),
    ]  # fmt: skip


async def test_prompts_of_a_ranking_begin_alike_and_go_to_the_engine_a_few_calls_at_a_time() -> None:
    engine = Larger()
    await rank_numbers(judge(engine), range(16), strategy="all_pairs")
    assert [len(call) for call in engine.calls] == [64, 64, 64, 48]
    assert len({(prompt.system, id(prompt.images), prompt.shared) for call in engine.calls for prompt in call}) == 1


async def test_equal_texts_are_one_candidate_and_share_its_place() -> None:
    found = await rank_candidates(judge(), (PICTURE,), "How many?", ["I count 1.", " I count 2. ", "I count 2."])
    assert found.num_judgements == 1
    assert [each.index for each in found.standings] == [1, 2, 0]
    assert found.standings[0].win_probability == found.standings[1].win_probability > 0.5
    assert count_most_at_once(["I count 1.", " I count 2. ", "I count 2."], budget=1) == 1
    alone = await rank_candidates(judge(), (PICTURE,), "How many?", ["I count 1."] * 2)
    assert (alone.num_judgements, alone.consistency) == (0, None)
    assert [each.index for each in alone.standings] == [0, 1]


async def test_an_abstention_is_a_draw_and_does_not_spoil_the_ranking() -> None:
    found = await rank_numbers(judge(), [2, "unread", 5], strategy="all_pairs")
    assert [each.index for each in found.standings] == [2, 1, 0]
    assert found.num_abstained == 2
    assert {each.index: each.ties for each in found.standings} == {0: 1, 1: 2, 2: 1}


async def test_experts_look_once_and_everybody_is_told_the_same() -> None:
    asked: list[object] = []
    panel = ExpertPanel([FakeExpert({"dog": 2}, behave=asked.append)])
    engine = FakeEngine()
    seen: list[Prompt] = []
    complete = engine.complete

    async def recorded(prompts: Sequence[Prompt], sampling: Sampling, **options: object) -> list[Completion]:
        seen.extend(prompts)
        return await complete(prompts, sampling, **options)  # type: ignore[arg-type]

    engine.complete = recorded  # type: ignore[method-assign]
    await engine.start()
    texts = ["There are two dogs.", "There are three dogs.", "There is a cat."]
    for use, told in (("prompt", True), ("evidence", False), ("off", False)):
        asked.clear()
        seen.clear()
        found = await rank_candidates(
            Judge(engine, verifier=panel),
            (PICTURE,),
            "What is there?",
            texts,
            options=JudgeOptions(experts=use),  # type: ignore[arg-type]
        )
        assert len(asked) == (use != "off")
        assert all(("dog: 2" in prompt.shared and "cat: none" in prompt.shared) is told for prompt in seen)
        evidence = {each.index: [item.finding for item in each.evidence] for each in found.standings}
        expected = {0: ["supported"], 1: ["contradicted"], 2: ["unsupported"]}
        assert evidence == (expected if use != "off" else {0: [], 1: [], 2: []})
    panel.close()


async def test_a_verdict_of_a_ranking_against_the_experts_is_flagged_as_any_other() -> None:
    panel = ExpertPanel([FakeExpert({"dog": 2})])
    found = await rank_candidates(
        judge(panel=panel), (PICTURE,), "How many?", ["There are 2 dogs.", "There are 9 cats.", "There is 1 dog."],
        strategy="all_pairs",
    )  # fmt: skip
    panel.close()
    against = [verdict for verdict in found.verdicts if verdict.expert_conflict]
    assert [(v.evidence.A[0].finding, v.evidence.B[0].finding, v.preferred) for v in against] == [
        ("supported", "unsupported", "B")
    ]


async def test_what_cannot_be_judged_is_refused_with_its_place_before_anything_is_spent() -> None:
    engine = Larger()
    given = judge(engine)
    with pytest.raises(InvalidComparisonError, match="Candidate 1 is empty") as empty:
        await rank_candidates(given, (PICTURE,), "Which?", ["a", " "])
    assert empty.value.param == "documents[1]"
    with pytest.raises(InputTooLongError, match="Candidate 0 has 20,001 characters"):
        await rank_candidates(given, (PICTURE,), "Which?", ["a" * 20_001, "b"])
    with pytest.raises(InvalidComparisonError, match="The question is empty"):
        await rank_candidates(given, (PICTURE,), "", ["a", "b"])
    with pytest.raises(InvalidComparisonError, match="no image"):
        await rank_candidates(given, (), "Which?", ["a", "b"])
    with pytest.raises(InvalidComparisonError, match="budget is 1 judgements"):
        await rank_numbers(given, [1, 2, 3], budget=1)
    assert engine.calls == []


async def test_an_engine_that_fails_fails_the_ranking_and_leaves_no_work_behind() -> None:
    started, cancelled = 0, 0

    class Failing(FakeEngine):
        async def complete(
            self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
        ) -> list[Completion]:
            nonlocal started, cancelled
            started += 1
            if started == 1:
                await asyncio.sleep(0)
                raise EngineError("broken")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
            return []

    with pytest.raises(EngineError, match="broken"):
        await rank_numbers(judge(Failing()), range(16), strategy="all_pairs")
    await asyncio.sleep(0)
    assert cancelled == started - 1 > 0
