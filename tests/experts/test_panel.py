"""The panel: every expert is asked for what it covers, and one that fails costs its own findings only."""

import threading
from collections.abc import Sequence

import pytest
from PIL import Image

from experts import panel as panel_module
from experts.claims import find_mentions
from experts.contract import Inquiry, StatementInquiry
from experts.fake import FakeChecker, FakeExpert
from experts.lexicon import default_lexicon
from experts.panel import MAX_PHRASES, MAX_STATEMENTS, ExpertPanel
from experts.reliability import Reliability
from genrm.evidence import evidence_log_odds
from genrm.types import Comparison, Detection, mean_support


def comparison(picture: Image.Image, a: str, b: str, question: str = "What is there?") -> Comparison:
    return Comparison(images=(picture,), question=question, response_a=a, response_b=b)


def fail(_: Sequence[object]) -> None:
    raise RuntimeError("weights on fire")


async def test_the_response_that_hallucinates_is_supported_less(picture: Image.Image) -> None:
    panel = ExpertPanel([FakeExpert({"dog": 1})])
    found = await panel.examine(comparison(picture, "There is a dog.", "There is a cat."))
    panel.close()
    assert [e.finding for e in found.evidence.A] == ["supported"]
    assert [e.finding for e in found.evidence.B] == ["unsupported"]
    a, b = mean_support(found.evidence.A), mean_support(found.evidence.B)
    assert a is not None
    assert b is not None
    assert a > b


async def test_exchanging_the_responses_exchanges_the_evidence_and_leaves_the_sightings(picture: Image.Image) -> None:
    panel = ExpertPanel([FakeExpert({"dog": 2, "zebra": 1})])
    given = comparison(picture, "There are two dogs and a zebra.", "There is no bear.", "Is there an apple?")
    one, two = await panel.examine(given), await panel.examine(given.swap())
    panel.close()
    assert one.evidence == two.evidence.swap()
    assert one.sightings == two.sightings
    assert [s.phrase for s in one.sightings] == ["apple", "bear", "dog", "zebra"]


async def test_objects_of_the_question_are_sighted_with_their_places(picture: Image.Image) -> None:
    panel = ExpertPanel([FakeExpert({"dog": 2})])
    found = await panel.examine(comparison(picture, "On the left.", "On the right.", "Where is the dog?"))
    panel.close()
    assert [(s.phrase, s.places) for s in found.sightings] == [("dog", ("upper left", "upper left"))]


async def test_comparisons_about_the_same_images_are_examined_with_one_look(picture: Image.Image) -> None:
    asked: list[Inquiry] = []
    panel = ExpertPanel([FakeExpert({"dog": 2, "zebra": 1}, behave=asked.extend)])
    given = [
        comparison(picture, "There are two dogs.", "There is a bear."),
        comparison(picture, "There are two dogs.", "There is a zebra.", "Is there an apple?"),
    ]
    together = await panel.examine_all(given)
    assert [inquiry.phrases for inquiry in asked] == [("apple", "bear", "dog", "zebra")]
    apart = [await panel.examine(each) for each in given]
    with pytest.raises(ValueError, match="same images"):
        await panel.examine_all([given[0], comparison(picture.rotate(90), "Yes.", "No.")])
    panel.close()
    assert [e.evidence for e in together] == [e.evidence for e in apart]
    assert [e.sightings for e in together] == [e.sightings for e in apart]


async def test_the_question_of_several_comparisons_is_read_once_and_in_a_thread_if_it_is_long(
    picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[tuple[str, bool]] = []

    def read(text: str) -> tuple[str, ...]:
        reads.append((text, threading.current_thread() is threading.main_thread()))
        return find_mentions(text)

    monkeypatch.setattr(panel_module, "find_mentions", read)
    panel = ExpertPanel([FakeExpert({"dog": 2})])
    long = "Where is the dog? " * 28
    given = [comparison(picture, "Here.", f"At {number}.", long) for number in range(3)]
    found = await panel.examine_all([*given, comparison(picture, "Here.", "There.", "Where is the cat?")])
    panel.close()
    assert reads == [(long, False), ("Where is the cat?", True)]
    assert [[s.phrase for s in each.sightings] for each in found] == [["dog"], ["dog"], ["dog"], ["cat"]]


async def test_a_phrase_outside_every_vocabulary_is_unchecked(picture: Image.Image) -> None:
    panel = ExpertPanel([FakeExpert(vocabulary=frozenset({"cat"}))])
    found = await panel.verify_text([picture], "There is a dog.")
    panel.close()
    assert [e.finding for e in found.evidence] == ["unchecked"]
    assert found.warnings == ()


async def test_an_expert_that_raises_costs_its_own_findings_only(picture: Image.Image) -> None:
    broken = FakeExpert(name="broken", behave=fail)
    panel = ExpertPanel([broken, FakeExpert({"dog": 1}, vocabulary=frozenset({"dog"}))])
    found = await panel.verify_text([picture], "There is a dog and a cat.")
    panel.close()
    assert [e.finding for e in found.evidence] == ["supported", "unchecked"]
    (warning,) = found.warnings
    assert "'broken'" in warning
    assert "fire" not in warning


async def test_an_expert_that_hangs_costs_its_own_findings_only(picture: Image.Image, release: threading.Event) -> None:
    slow = FakeExpert(name="slow", behave=lambda _: release.wait(20))
    panel = ExpertPanel([slow, FakeExpert({"dog": 1})], timeout_seconds=0.2)
    found = await panel.verify_text([picture], "There is a dog.")
    panel.close()
    assert [e.finding for e in found.evidence] == ["supported"]
    assert "'slow' did not answer within 0.2 s" in found.warnings[0]


async def test_a_text_with_very_many_objects_has_the_rest_unchecked(picture: Image.Image) -> None:
    expert = FakeExpert()
    panel = ExpertPanel([expert])
    names = sorted(default_lexicon().names)
    found = await panel.verify_text([picture], " ".join(f"There is a {name}." for name in names))
    panel.close()
    assert len(expert.batches[0][0].phrases) == MAX_PHRASES
    assert sum(e.finding == "unchecked" for e in found.evidence) == len(found.evidence) - MAX_PHRASES
    assert "asked for 64 of them" in found.warnings[0]


async def test_a_text_without_objects_has_no_evidence(picture: Image.Image) -> None:
    expert = FakeExpert()
    panel = ExpertPanel([expert])
    assert (await panel.verify_text([picture], "It is a lovely day.")).evidence == ()
    panel.close()
    assert expert.batches == []


async def test_several_images_are_all_looked_at(picture: Image.Image) -> None:
    panel = ExpertPanel([FakeExpert({"dog": 1})])
    (evidence,) = (await panel.verify_text([picture, picture], "There are two dogs.")).evidence
    panel.close()
    assert evidence.finding == "supported"


async def test_a_closed_panel_leaves_no_thread_that_the_end_of_the_process_could_meet(picture: Image.Image) -> None:
    panel = ExpertPanel([FakeExpert({"dog": 1}, name="leaving")])
    await panel.verify_text([picture], "There is a dog.")
    panel.close()
    assert "expert-leaving" not in {thread.name for thread in threading.enumerate()}


async def test_what_is_found_in_each_image_is_told_apart_and_placed_by_its_size() -> None:
    small, large = Image.new("RGB", (12, 12)), Image.new("RGB", (90, 90))
    panel = ExpertPanel([FakeExpert({"dog": 1})])
    pair = Comparison(images=(large, small), question="Where?", response_a="Two dogs.", response_b="A dog.")
    found = await panel.examine(pair)
    panel.close()
    assert [detection.image for detection in found.evidence.A[0].detections] == [0, 1]
    assert [sighting.places for sighting in found.sightings] == [("upper left", "middle left")]


async def test_places_are_told_line_by_line_though_no_two_objects_stand_at_one_height() -> None:
    class Scattered(FakeExpert):
        """Finds three dogs: lower left; upper right; upper left, a little lower than that."""

        def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
            boxes = ((5, 70, 25, 90), (65, 5, 85, 25), (5, 10, 25, 30))
            dogs = [Detection(phrase="dog", score=0.9, box=box, expert=self.name, model="m") for box in boxes]
            return [tuple(dogs) for _ in inquiries]

    panel = ExpertPanel([Scattered()])
    found = await panel.examine(comparison(Image.new("RGB", (90, 90)), "On the left.", "Where?", "Where is the dog?"))
    panel.close()
    assert [sighting.places for sighting in found.sightings] == [("upper left", "upper right", "lower left")]


def test_two_experts_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        ExpertPanel([FakeExpert(), FakeExpert()])


async def test_what_was_measured_of_an_expert_is_what_its_silence_weighs(picture: Image.Image) -> None:
    good = Reliability(recall=0.99, false_alarm_rate=0.01)
    measured, assumed = ExpertPanel([FakeExpert(reliability=good)]), ExpertPanel([FakeExpert()])
    values = [(await p.verify_text([picture], "There is a dog.")).evidence[0].probability for p in (measured, assumed)]
    measured.close()
    assumed.close()
    assert values[0] is not None
    assert values[1] is not None
    assert values[0] < values[1]


async def test_statements_stand_behind_claims_and_weigh_against_their_response(picture: Image.Image) -> None:
    checker = FakeChecker({"The dog is on a red mat.": 0.9, "The dog is on a blue mat.": 0.1})
    panel = ExpertPanel([FakeExpert({"dog": 1})], checkers=[checker])
    pair = comparison(picture, "The dog is on a red mat.", "The dog is on a blue mat.")
    found = await panel.examine(pair)
    swapped = await panel.examine(pair.swap())
    panel.close()
    assert [(e.kind, e.finding) for e in found.evidence.A] == [("object", "supported"), ("statement", "supported")]
    assert [(e.kind, e.finding) for e in found.evidence.B] == [("object", "supported"), ("statement", "contradicted")]
    assert found.evidence == swapped.evidence.swap()
    assert evidence_log_odds(found.evidence) == pytest.approx(1.609, abs=1e-3)  # -ln(0.1 / 0.5)
    assert [s.phrase for s in found.sightings] == ["dog"]
    assert panel.members == (*panel.experts, checker)


async def test_a_sentence_in_which_a_detector_found_something_false_is_not_put_to_a_checker(
    picture: Image.Image,
) -> None:
    checker = FakeChecker()
    panel = ExpertPanel([FakeExpert({"dog": 1})], checkers=[checker])
    found = await panel.verify_text([picture], "The dog is on a red mat. The cat is on a red mat.")
    panel.close()
    assert [(e.phrase, e.finding) for e in found.evidence] == [
        ("dog", "supported"),
        ("cat", "unsupported"),
        ("The dog is on a red mat.", "unchecked"),
    ]
    assert [i.statements for batch in checker.batches for i in batch] == [("The dog is on a red mat.",)]


async def test_every_statement_of_a_ranking_is_checked_once_per_question(picture: Image.Image) -> None:
    asked: list[StatementInquiry] = []
    panel = ExpertPanel([], checkers=[FakeChecker({"The mat is red.": 0.9}, behave=asked.extend)])
    given = [
        comparison(picture, "The mat is red.", "The mat is blue."),
        comparison(picture, "The mat is red. The sign says 24.", "Green."),
        comparison(picture, "The mat is red.", "Blue.", "Which colour?"),
    ]
    together = await panel.examine_all(given)
    assert {i.question: i.statements for i in asked} == {
        "What is there?": ("The mat is blue.", "The mat is red.", "The sign says 24."),
        "Which colour?": ("The mat is red.",),
    }
    apart = [await panel.examine(each) for each in given]
    panel.close()
    assert [e.evidence for e in together] == [e.evidence for e in apart]


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_checker_that_fails_or_hangs_costs_its_own_findings_only(
    picture: Image.Image, release: threading.Event, *, hangs: bool
) -> None:
    broken = FakeChecker(name="broken", behave=(lambda _: release.wait(20)) if hangs else fail)
    panel = ExpertPanel([FakeExpert({"dog": 1})], checkers=[broken], timeout_seconds=0.2)
    found = await panel.verify_text([picture], "The dog is on a red mat.")
    panel.close()
    assert [e.finding for e in found.evidence] == ["supported", "unchecked"]
    (warning,) = found.warnings
    assert "'broken'" in warning
    assert "It checked no statement." in warning
    assert "fire" not in warning


@pytest.mark.parametrize("answer", [(), (0.5, 0.5), (1.5,), (float("nan"),)])
async def test_an_answer_that_is_no_probability_per_statement_is_a_failure(
    picture: Image.Image, answer: tuple[float, ...]
) -> None:
    class Odd(FakeChecker):
        def check(self, inquiries: Sequence[StatementInquiry]) -> list[tuple[float, ...]]:
            return [answer for _ in inquiries]

    panel = ExpertPanel([], checkers=[Odd()])
    found = await panel.verify_text([picture], "The mat is red.")
    panel.close()
    assert [e.finding for e in found.evidence] == ["unchecked"]
    assert "failed on this image" in found.warnings[0]


async def test_a_text_with_very_many_statements_has_the_rest_unchecked(picture: Image.Image) -> None:
    text = " ".join(f"The sign says {number}." for number in range(MAX_STATEMENTS + 3))
    panel = ExpertPanel([], checkers=[FakeChecker({f"The sign says {n}.": 0.9 for n in range(100)})])
    found = await panel.verify_text([picture], text)
    panel.close()
    assert [e.finding for e in found.evidence] == ["supported"] * MAX_STATEMENTS + ["unchecked"] * 3
    assert found.warnings == ("67 statements are made; 64 of them were checked.",)


async def test_a_job_may_have_all_statements_checked(picture: Image.Image) -> None:
    text = " ".join(f"The sign says {number}." for number in range(MAX_STATEMENTS + 3))
    panel = ExpertPanel([], checkers=[FakeChecker({f"The sign says {n}.": 0.9 for n in range(100)})], max_statements=99)
    found = await panel.verify_text([picture], text)
    panel.close()
    assert {e.finding for e in found.evidence} == {"supported"}
    assert found.warnings == ()


async def test_exchanging_responses_with_very_many_statements_exchanges_the_evidence(picture: Image.Image) -> None:
    many = " ".join(f"The sign says {number}." for number in range(MAX_STATEMENTS + 3))
    checker = FakeChecker({"The mat is red.": 0.1, "The sign says 3.": 0.9})
    panel = ExpertPanel([], checkers=[checker])
    given = comparison(picture, many, "The mat is red. The sky is grey.")
    one, two = await panel.examine(given), await panel.examine(given.swap())
    panel.close()
    assert one.evidence == two.evidence.swap()
    assert one.evidence.B[0].finding == "contradicted"
    assert checker.batches[0] == checker.batches[1]


async def test_markers_of_a_prompt_are_no_part_of_a_statement(picture: Image.Image) -> None:
    panel = ExpertPanel([], checkers=[FakeChecker()])
    found = await panel.verify_text([picture], "<|im_end|> <|im_start|> <|im_end|>. <|im_end|>The mat is red.")
    panel.close()
    assert [e.phrase for e in found.evidence] == ["The mat is red."]


async def test_without_statements_a_checker_is_not_asked(picture: Image.Image) -> None:
    checker = FakeChecker()
    panel = ExpertPanel([FakeExpert({"dog": 2})], checkers=[checker])
    await panel.verify_text([picture], "Two dogs.")
    panel.close()
    assert checker.batches == []


def test_an_expert_and_a_checker_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        ExpertPanel([FakeExpert()], checkers=[FakeChecker(name="fake")])
