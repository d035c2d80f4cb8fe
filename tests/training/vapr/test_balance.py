"""Texts alone must not tell chosen from rejected."""

import random
from typing import Any

import pytest

from training.preferences.card import blind_classifiers, blind_transfer
from training.vapr.balance import Balance, Ledger, choose_dropped, describe_difference

NAMES = ("dog", "cat", "bus", "cup", "bed", "car")


def rows(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"id": f"r{i}#0", "chosen": chosen, "rejected": rejected} for i, (chosen, rejected) in enumerate(pairs)]


def biased(number: int = 200) -> list[dict[str, Any]]:
    """Objects in any order, but a third of the rejected answers hold a word that no chosen one has."""
    rng = random.Random(0)
    pairs = []
    for i in range(number):
        one, other = rng.sample(NAMES, 2)
        pairs.append((f"There is a {one}.", f"There is a {'unicorn' if i % 3 == 0 else other}."))
    return rows(pairs)


def test_a_difference_holds_words_word_pairs_and_lengths() -> None:
    assert describe_difference("A dog is here.", "A cat is here.") == {
        "dog": 1, "cat": -1, "dog is": 1, "cat is": -1
    }  # fmt: skip
    assert describe_difference("no dog", "dog")["#words"] == 1.0


def test_a_pair_that_evens_the_words_costs_less_than_one_that_does_not() -> None:
    ledger = Ledger()
    ledger.add(describe_difference("one dog", "two dogs"))
    back, again = describe_difference("two dogs", "one dog"), describe_difference("one cat", "two cats")
    assert ledger.cost(back) < 0 < ledger.cost(again)
    ledger.add(back)
    assert ledger.cost(back) > 0


def test_a_pair_that_is_taken_back_leaves_no_trace() -> None:
    ledger, difference = Ledger(), describe_difference("one dog", "two dogs")
    ledger.add(difference)
    ledger.add(difference, times=-1)
    assert ledger.cost(difference) == sum(value**2 for value in difference.values())


def test_what_gives_the_answer_away_is_dropped_until_the_classifiers_fail() -> None:
    pairs = biased()
    balanced = choose_dropped(pairs, Balance(), seed=0)
    assert balanced.before["text_only"]["value"] > 0.6
    assert balanced.after["text_only"]["value"] <= 0.52
    kept = [row for i, row in enumerate(pairs) if i not in balanced.dropped]
    assert blind_classifiers(kept, seed=0) == balanced.after
    assert sum("unicorn" in row["rejected"] for row in kept) < sum("unicorn" in row["rejected"] for row in pairs) / 2


def test_no_more_is_dropped_than_allowed() -> None:
    assert len(choose_dropped(biased(), Balance(max_dropped=0.1), seed=0).dropped) == 20
    assert choose_dropped(biased(), Balance(max_accuracy=1), seed=0).dropped == frozenset()


def test_nothing_is_dropped_for_what_chance_alone_explains() -> None:
    rng = random.Random(1)
    pairs = [(f"a {one} here", f"a {other} here") for one, other in (rng.sample(NAMES, 2) for _ in range(100))]
    assert len(choose_dropped(rows(pairs), Balance(max_accuracy=0.5), seed=0).dropped) <= 15


def test_chosen_answers_are_yes_as_often_as_no_at_the_end() -> None:
    pairs = rows([("Yes.", "No.")] * 70 + [("No.", "Yes.")] * 50)
    balanced = choose_dropped(pairs, Balance(max_dropped=0.5), seed=0)
    kept = [row["chosen"] for i, row in enumerate(pairs) if i not in balanced.dropped]
    assert kept.count("Yes.") == kept.count("No.") == 50


@pytest.mark.parametrize("number", [0, 1, 10])
def test_few_pairs_are_left_alone(number: int) -> None:
    balanced = choose_dropped(biased(number), Balance(), seed=0)
    assert (balanced.dropped, balanced.before) == (frozenset(), {})


def test_between_two_sets_a_giveaway_is_found_and_a_balance_is_not_mistaken_for_one() -> None:
    def rows_of(names: str, *, gives_away: bool) -> list[dict[str, str]]:
        pairs = [(one, other) for one in names.split() for other in names.split() if one != other]
        return [
            {"id": f"{i}#0", "chosen": f"A {one}.", "rejected": "A ghost." if gives_away else f"A {other}."}
            for i, (one, other) in enumerate(pairs)
        ]

    learned, tested = "dog cat cow bus car cup bed sofa", "dog cat fork oven kite car bus vase"
    told = blind_transfer(rows_of(learned, gives_away=True), rows_of(tested, gives_away=True))
    assert told["text_only"]["value"] > 0.9
    even = blind_transfer(rows_of(learned, gives_away=False), rows_of(tested, gives_away=False))["text_only"]
    assert even["low"] < 0.5 < even["high"]
    assert blind_transfer(rows_of(learned, gives_away=True), rows_of("dog cat", gives_away=True)) == {}
