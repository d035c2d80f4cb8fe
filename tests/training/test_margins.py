"""Margins over both orders, and the choice of critiques."""

from collections import Counter
from typing import Any

import pytest

from training.margins import Drawn, mean_probability, score_margins, select


def drawn(first: Any, probability: float | None, *, text: str = "c", pair: str = "p", **other: Any) -> Drawn:
    values = {"group": "general", "label": "A"} | other
    return Drawn(pair_id=pair, first=first, text=text, probability=probability, **values)


def test_a_margin_is_the_mean_of_its_own_lead_and_the_other_orders() -> None:
    items = [drawn("A", 0.9), drawn("B", 0.8, text="x"), drawn("B", 0.2, text="y")]
    margins = [item.margin for item in score_margins(items)]
    assert margins == pytest.approx([(0.8 + 0.0) / 2, (0.6 + 0.8) / 2, (-0.6 + 0.8) / 2])


def test_a_critique_without_a_verdict_gets_no_margin_and_counts_as_undecided_for_the_other_order() -> None:
    items = [drawn("A", 1.0), drawn("B", None)]
    assert [item.margin for item in score_margins(items)] == pytest.approx([0.5])


def test_wrong_critiques_are_never_kept_whatever_the_threshold() -> None:
    items = score_margins([drawn("A", 0.1), drawn("B", 0.1)])
    assert select(items, threshold=-1, per_order=4, prefer="margin", group_cap=1, seed=0) == []


def test_the_threshold_asks_for_both_orders() -> None:
    both = score_margins([drawn("A", 0.95), drawn("B", 0.95)])
    one = score_margins([drawn("A", 0.95, pair="q"), drawn("B", 0.05, pair="q")])
    kept = select([*both, *one], threshold=0.5, per_order=1, prefer="margin", group_cap=1, seed=0)
    assert {(item.drawn.pair_id, item.drawn.first) for item in kept} == {("p", "A"), ("p", "B")}


def test_a_cap_and_a_preference_choose_among_good_ones_and_repetitions_count_once() -> None:
    texts = {"long critique": 0.99, "short": 0.9, "short ": 0.8}
    items = score_margins(
        [drawn("A", p, text=t) for t, p in texts.items()] + [drawn("A", 0.9, text="short"), drawn("B", 0.99)]
    )

    def chosen(prefer: Any) -> set[str]:
        kept = select(items, threshold=0, per_order=1, prefer=prefer, group_cap=1, seed=0)
        return {item.drawn.text for item in kept if item.drawn.first == "A"}

    assert chosen("margin") == {"long critique"}
    assert chosen("shortest") == {"short"}


def test_labels_are_balanced_and_groups_capped() -> None:
    items = []
    for number in range(40):
        group = "reasoning" if number < 8 else "general"
        items += [drawn(f, 0.99, pair=f"p{number}", group=group, label="A") for f in "AB"]
    for number in range(20):  # only readings in which the better response stands first
        items += [drawn("A", 0.99, pair=f"q{number}")]
    scored = score_margins([item for item in items if item.pair_id[0] == "p"])
    scored += score_margins([item for item in items if item.pair_id[0] == "q"])
    kept = select(scored, threshold=0.3, per_order=1, prefer="random", group_cap=2, seed=0)
    labels = Counter(item.drawn.label == item.drawn.first for item in kept)
    groups = Counter(item.drawn.group for item in kept)
    assert labels[True] == labels[False] > 0
    assert groups == {"general": 32, "reasoning": 16}


def test_a_cap_that_drops_most_of_what_passed_is_told_with_the_group_that_is_small(
    caplog: pytest.LogCaptureFixture,
) -> None:
    items = []
    for number in range(20):
        items += [drawn(f, 0.99, pair=f"p{number}", group="general" if number else "rare") for f in "AB"]
    scored = [each for pair in range(20) for each in score_margins(items[2 * pair : 2 * pair + 2])]
    kept = select(scored, threshold=0.3, per_order=1, prefer="random", group_cap=100, seed=0)
    assert len(kept) == 40
    assert caplog.text == ""
    kept = select(scored, threshold=0.3, per_order=1, prefer="random", group_cap=2, seed=0)
    assert len(kept) == 6
    assert (
        "Of 40 critiques that passed, balance between the labels leaves 40, and group_cap 2 leaves 6: the smallest "
        "group, 'rare', has 2."
    ) in caplog.text


def test_critiques_of_one_label_alone_are_no_balance_and_none_is_kept() -> None:
    scored = score_margins([drawn("A", 0.99), drawn("A", 0.99, pair="q")])
    assert select(scored, threshold=0, per_order=1, prefer="margin", group_cap=1, seed=0) == []


def test_the_present_probability_is_the_mean_of_what_could_be_read() -> None:
    assert mean_probability([drawn("A", 0.9), drawn("B", None), drawn("B", 0.5)]) == pytest.approx(0.7)
    assert mean_probability([drawn("A", None)]) is None
