"""Questions: true of the scene, one targeted error, no shortcut for who cannot see."""

import re
from collections import Counter

import numpy as np
import pytest

from genrm.parsing import parse_verdict
from pocket.critiques import pair_critique, response_critique
from pocket.exchanges import Exchange, Group, category_phrase, count_phrase, join_words, sentence
from pocket.questions import QUESTION_KINDS
from pocket.rows import make_row, make_rows
from pocket.scenes import Scene, Split, sample_scene
from pocket.vocabulary import KIND_BY_NAME, KINDS, MAT_COLOURS, NUMBER_WORDS

ROWS = list(make_rows(Split.TRAIN, 3000))
_PLURALS = {kind.plural: kind for kind in KINDS}


def exchanges_of(kind: str, *, num: int = 200) -> list[tuple[Scene, Exchange]]:
    """Exchanges of one kind over the scenes that support it."""
    found = []
    for index in range(num):
        scene = sample_scene(Split.DEV, index)
        exchange = QUESTION_KINDS[kind][1](scene, np.random.default_rng(index))
        if exchange is not None:
            found.append((scene, exchange))
    assert len(found) > 10
    return found


def test_there_are_at_least_twelve_kinds_in_three_groups() -> None:
    assert len(QUESTION_KINDS) >= 12
    assert {group for group, _ in QUESTION_KINDS.values()} == set(Group)
    assert {row.kind for row in ROWS} == set(QUESTION_KINDS)


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_right_and_wrong_answers_differ_and_keep_their_length(kind: str) -> None:
    for _, exchange in exchanges_of(kind):
        assert exchange.right != exchange.wrong
        assert exchange.right_claim != exchange.wrong_claim
        assert abs(len(exchange.right.split()) - len(exchange.wrong.split())) <= 2


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_every_kind_has_several_paraphrases(kind: str) -> None:
    names = "|".join(sorted((re.escape(n) for k in KINDS for n in (k.plural, k.name)), key=len, reverse=True))
    questions = {re.sub(rf"\b(an? )?({names}|\w+(?= mat\?))\b", "X", e.question) for _, e in exchanges_of(kind)}
    assert len(questions) >= 2


def _counts(scene: Scene) -> Counter[str]:
    return Counter(o.kind.name for o in scene.objects)


def test_existence_answers_are_true_of_the_scene() -> None:
    for kind in ("existence", "denial"):
        for scene, exchange in exchanges_of(kind):
            name = exchange.facts[0].split(":")[0]
            assert (_counts(scene)[name] == 0) == exchange.right_claim.startswith("no ")
            assert ("there is no" in exchange.right) == (_counts(scene)[name] == 0)


def test_counts_are_the_scene_s_counts() -> None:
    for scene, exchange in exchanges_of("count"):
        name = exchange.facts[0].split(":")[0]
        assert exchange.right_claim == count_phrase(KIND_BY_NAME[name], _counts(scene)[name])


def test_category_counts_are_the_scene_s_counts() -> None:
    for scene, exchange in exchanges_of("category-count"):
        category = exchange.facts[0].split(":")[0]
        assert exchange.right_claim == category_phrase(category, len(scene.of_category(category)))


def test_comparisons_of_counts_are_true() -> None:
    for scene, exchange in exchanges_of("compare"):
        words = re.fullmatch(r"(more|as many) (.+) (?:than|as) (.+)", exchange.right_claim)
        assert words
        one, two = (_counts(scene)[_PLURALS[words[i]].name] for i in (2, 3))
        assert one == two if words[1] == "as many" else one > two


@pytest.mark.parametrize("kind", ["left-right", "above-below"])
def test_relations_are_true(kind: str) -> None:
    for scene, exchange in exchanges_of(kind):
        a, b = (scene.of_kind(fact.split(":")[0])[0] for fact in exchange.facts)
        truth = {"left": a.x < b.x, "right": a.x > b.x, "above": a.y < b.y, "below": a.y > b.y}
        assert truth[exchange.right_claim]
        assert not truth[exchange.wrong_claim]


def test_regions_mats_and_signs_are_true() -> None:
    for scene, exchange in exchanges_of("region"):
        placed = scene.of_kind(exchange.facts[0].split(":")[0])
        assert [exchange.right_claim] == [o.place for o in placed]
    for scene, exchange in exchanges_of("attribute"):
        placed = scene.of_kind(exchange.facts[0].split(":")[0])
        assert [exchange.right_claim] == [o.mat for o in placed]
    for scene, exchange in exchanges_of("object-with-attribute"):
        right, wrong = (fact.split(": ") for fact in exchange.facts)
        for name, mats in (right, wrong):
            expected = [f"{o.mat or 'no'} mat" for o in scene.of_kind(name)]
            assert mats == (", ".join(expected) or "none")
        colour = next(c for c in MAT_COLOURS if c in exchange.question)
        assert [o.kind.one for o in scene.objects if o.mat == colour] == [exchange.right_claim]
        assert f"{colour} mat" not in wrong[1]
    for scene, exchange in exchanges_of("reading"):
        assert scene.sign is not None
        assert scene.sign.text == exchange.right_claim


def test_every_count_in_a_caption_is_true_and_one_in_the_wrong_caption_is_false() -> None:
    names = sorted((n for k in KINDS for n in (k.name, k.plural)), key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(NUMBER_WORDS)}) ({'|'.join(map(re.escape, names))})\b")

    def is_true(scene: Scene, text: str) -> bool:
        claims = pattern.findall(text)
        assert claims
        kinds = [KIND_BY_NAME.get(name) or _PLURALS[name] for _, name in claims]
        return all(_counts(scene)[k.name] == NUMBER_WORDS.index(n) for (n, _), k in zip(claims, kinds, strict=True))

    for scene, exchange in exchanges_of("caption"):
        assert is_true(scene, exchange.right)
        assert not is_true(scene, exchange.wrong)


def test_objects_named_are_there_and_the_wrong_one_is_not() -> None:
    for kind in ("objects", "choice"):
        for scene, exchange in exchanges_of(kind):
            right, wrong = (fact.split(":")[0] for fact in exchange.facts)
            assert _counts(scene)[right] > 0
            assert _counts(scene)[wrong] == 0
            assert exchange.facts[1].endswith(": none")


def test_a_wrong_description_differs_in_one_sentence() -> None:
    for _, exchange in exchanges_of("description"):
        right, wrong = exchange.right.split(". "), exchange.wrong.split(". ")
        assert 2 <= len(right) == len(wrong) <= 4
        assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1


def test_the_shorter_answer_is_right_half_of_the_time() -> None:
    unequal = [row for row in ROWS if len(row.response_a) != len(row.response_b)]
    wins = sum((len(row.response_a) < len(row.response_b)) == (row.label == "A") for row in unequal)
    assert abs(wins / len(unequal) - 0.5) < 0.04


def test_labels_are_balanced() -> None:
    assert abs(sum(row.label == "A" for row in ROWS) / len(ROWS) - 0.5) < 0.03


def test_groups_come_in_turn() -> None:
    assert Counter(row.group for row in ROWS) == dict.fromkeys(Group, 1000)


def test_a_row_is_reproducible_and_another_seed_gives_another() -> None:
    assert make_row(Split.DEV, 3) == make_row(Split.DEV, 3)
    assert make_row(Split.DEV, 3) != make_row(Split.DEV, 3, seed=1)


def test_critiques_end_with_the_verdict_that_the_label_demands() -> None:
    for row in ROWS[:300]:
        assert parse_verdict(row.critique).label == {"A": "First", "B": "Second"}[row.label]


def test_the_order_of_look_ups_does_not_give_away_the_right_object() -> None:
    replaced = [e for _, e in exchanges_of("choice")]
    for exchange in replaced:
        first_named = [
            re.search(r"Seen ([^:]+):", pair_critique(exchange, right_is_first=side)) for side in (True, False)
        ]
        names = [match[1] for match in first_named if match]
        assert [KIND_BY_NAME[name].one for name in names] == [exchange.right_claim, exchange.wrong_claim]


def test_a_critique_of_one_response_calls_it_right_or_wrong() -> None:
    for _, exchange in exchanges_of("objects", num=40):
        assert response_critique(exchange, of_right=True).endswith("The response is right.")
        assert response_critique(exchange, of_right=False).endswith("The response is wrong.")
        assert exchange.right_claim not in response_critique(exchange, of_right=False)


def test_phrases_are_english() -> None:
    dog, skis = KIND_BY_NAME["dog"], KIND_BY_NAME["skis"]
    assert [count_phrase(dog, n) for n in (0, 1, 3)] == ["no dogs", "one dog", "three dogs"]
    assert [category_phrase("accessories", n) for n in (0, 1, 2)] == [
        "no accessories",
        "one accessory",
        "two accessories",
    ]
    assert join_words(["a dog", "skis", "an apple"]) == "a dog, skis and an apple"
    assert (skis.one, KIND_BY_NAME["apple"].one) == ("skis", "an apple")
    assert sentence("the dog is here") == "The dog is here."
