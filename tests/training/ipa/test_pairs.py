"""Pairs: pass × fail, capped and balanced; feedback only against feedback on the same response."""

import random
from collections import Counter
from typing import Any

from training.ipa.candidates import Answer, Source
from training.ipa.pairs import pair_feedback, pair_up, split_by_finding
from training.ipa.verification import Finding


def answers(source: Source, *texts: str, **fields: Any) -> list[Answer]:
    return [Answer(text=text, source=source, fate=fields.pop("fate", "kept"), **fields) for text in texts]


def test_who_passed_is_preferred_to_who_failed_and_the_unreadable_are_in_no_pair() -> None:
    findings: dict[str, Finding] = {"a": "pass", "b": "fail", "c": "unreadable", "d": "no clear answer"}
    passed, failed = split_by_finding(answers("initial", "a", "b", "c", "d", "e"), findings)
    assert [answer.text for answer in passed] == ["a"]
    assert [answer.text for answer in failed] == ["b", "d"]


def test_all_pairs_are_made_where_the_cap_allows_it() -> None:
    pairs = pair_up(answers("initial", "a", "b"), answers("revised", "x", "y"), cap=9, rng=random.Random(0))
    assert sorted((one.text, other.text) for one, other in pairs) == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]


def test_no_pass_or_no_fail_makes_no_pair() -> None:
    assert pair_up([], answers("initial", "a"), cap=4, rng=random.Random(0)) == []
    assert pair_up(answers("initial", "a"), [], cap=4, rng=random.Random(0)) == []


def test_sources_take_turns_under_the_cap() -> None:
    passed = answers("initial", *"abcdef") + answers("revised", "g")
    failed = answers("contrastive", *"uvwxyz") + answers("initial", "t")
    pairs = pair_up(passed, failed, cap=4, rng=random.Random(0))
    assert Counter((one.source, other.source) for one, other in pairs) == Counter(
        [("initial", "contrastive"), ("initial", "initial"), ("revised", "contrastive"), ("revised", "initial")]
    )


def test_responses_that_are_in_few_pairs_yet_go_first() -> None:
    pairs = pair_up(answers("initial", *"abcd"), answers("initial", *"wxyz"), cap=4, rng=random.Random(1))
    assert len({one.text for one, _ in pairs}) == len({other.text for _, other in pairs}) == 4


def test_pairs_are_the_same_for_the_same_seed() -> None:
    def texts(seed: int) -> list[tuple[str, str]]:
        pairs = pair_up(answers("initial", *"abc"), answers("revised", *"xyz"), cap=3, rng=random.Random(seed))
        return [(one.text, other.text) for one, other in pairs]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def revision(of: str, feedback: str, text: str) -> Answer:
    return Answer(text=text, source="revised", fate="kept", of=of, feedback=feedback)


def test_feedback_is_paired_with_feedback_on_the_same_response_only() -> None:
    findings: dict[str, Finding] = {"right": "pass", "wrong": "fail"}
    revisions = [
        revision("one", "good", "right"), revision("one", "bad", "wrong"), revision("two", "fine", "right"),
        revision("three", "useless", "wrong"), revision("four", "same", "right"), revision("four", "same", "wrong"),
    ]  # fmt: skip
    pairs = pair_feedback(revisions, findings, cap=9, rng=random.Random(0))
    assert [(one.feedback, other.feedback) for one, other in pairs] == [("good", "bad")]


def test_a_response_gives_one_pair_of_feedback_and_an_item_no_more_than_the_cap() -> None:
    findings: dict[str, Finding] = {"right": "pass", "wrong": "fail"}
    revisions = [
        revision(str(of), f"{of} {text} {number}", text)
        for of in range(5)
        for text in ("right", "wrong")
        for number in range(3)
    ]
    assert len(pair_feedback(revisions, findings, cap=9, rng=random.Random(0))) == 5
    assert len(pair_feedback(revisions, findings, cap=2, rng=random.Random(0))) == 2
    assert pair_feedback(revisions, findings, cap=0, rng=random.Random(0)) == []
