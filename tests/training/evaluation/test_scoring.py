"""Accuracy and behaviour counted by hand."""

import pytest

from genrm.types import Probabilities, Reading, Response, Timings, Usage, Verdict
from training.evaluation.scoring import (
    Outcome,
    find_confidences,
    make_outcome,
    measure_accuracy,
    measure_behaviour,
    prefer_shorter,
)
from training.sources import Pair
from training.statistics import share_with_interval


def pair(label: Response = "A", *, a: str = "one two", b: str = "one", group: str = "g") -> Pair:
    return Pair(id="x", question="?", response_a=a, response_b=b, label=label, group=group, load_images=tuple)


def outcome(
    given: float | None, exchanged: float | None, verdict: float | None, *, group: str = "g", label: Response = "A"
) -> Outcome:
    consistent = None if given is None or exchanged is None else (given > 0.5) == (exchanged > 0.5)
    return Outcome(
        group=group, label=label, given=(given,), exchanged=(exchanged,), verdict=verdict, consistent=consistent
    )


def make_verdict(p_a: float, *readings: tuple[Response, float | None]) -> Verdict:
    return Verdict(
        status="decided",
        preferred="A" if p_a > 0.5 else "B",
        probabilities=Probabilities(A=p_a, B=1 - p_a),
        confidence=0.5,
        consistent=True,
        label_mass=1,
        probability_source="logprobs",
        critique="",
        readings=tuple(
            Reading(
                first=first,
                critique="",
                probabilities=None if p is None else Probabilities(A=p, B=1 - p),
                label_mass=1,
                finish_reason="stop",
                completion_tokens=1,
            )
            for first, p in readings
        ),
        usage=Usage(prompt_tokens=0, completion_tokens=0, cached_tokens=0),
        timings_ms=Timings(),
    )


def test_an_outcome_speaks_of_the_better_response_in_both_orders() -> None:
    found = make_outcome(pair("B"), make_verdict(0.3, ("A", 0.4), ("B", None), ("A", 0.1)))
    assert found.given == (0.6, 0.9)
    assert found.exchanged == (None,)
    assert found.verdict == 1.0


@pytest.mark.parametrize(
    ("convention", "verdict", "mean", "given"),
    [("dropped", 1 / 2, 3 / 4, 1.0), ("wrong", 1 / 3, 1 / 2, 2 / 3), ("half", 1 / 2, 2 / 3, 5 / 6)],
)
def test_three_conventions_for_what_could_not_be_parsed(
    convention: str, verdict: float, mean: float, given: float
) -> None:
    """Pairs: right in both orders; right then wrong, so a lost verdict; nothing parsed at all."""
    outcomes = [outcome(0.9, 0.8, 1.0), outcome(0.7, 0.2, 0.0), outcome(None, None, None)]

    def micro(measure: str) -> float:
        return measure_accuracy(outcomes, measure, convention)["overall (micro)"]["value"]  # type: ignore[arg-type] # one of three

    assert micro("verdict over both orders") == pytest.approx(verdict)
    assert micro("mean of the orders") == pytest.approx(mean)
    assert micro("order as given") == pytest.approx(given)


def test_micro_counts_pairs_and_macro_counts_groups() -> None:
    outcomes = [outcome(1, 1, 1.0, group="many")] * 3 + [outcome(0, 0, 0.0, group="few")]
    found = measure_accuracy(outcomes, "verdict over both orders", "dropped")
    assert {name: estimate["value"] for name, estimate in found.items()} == {
        "overall (micro)": 0.75,
        "overall (macro)": 0.5,
        "few": 0.0,
        "many": 1.0,
    }


def test_an_order_that_was_never_read_is_not_unparsed() -> None:
    one_order = Outcome(group="g", label="A", given=(1.0,), exchanged=(), verdict=1.0, consistent=None)
    assert measure_accuracy([one_order], "mean of the orders", "wrong")["overall (micro)"]["value"] == 1.0
    assert measure_accuracy([one_order], "order exchanged", "wrong")["overall (micro)"]["num"] == 0
    assert measure_behaviour([one_order])["unparsed rate"]["num"] == 1


def test_readings_of_one_pair_say_no_more_of_its_position_than_one() -> None:
    """Eight pairs of forty are read wholly by position, and the readings of eight others are all unparsed."""

    def widths(num_samples: int) -> list[float]:
        kinds = [(0.9, 0.1), (0.9, 0.9), (0.1, 0.1), (0.9, 0.9), (None, None)]
        found = measure_behaviour(
            [
                Outcome(
                    group="g", label="A", given=(one,) * num_samples, exchanged=(other,) * num_samples, verdict=1.0,
                    consistent=None,
                )
                for one, other in kinds * 8
            ]
        )  # fmt: skip
        return [found[name]["high"] - found[name]["low"] for name in ("first-position rate", "unparsed rate")]

    assert widths(5) == pytest.approx(widths(1))
    wilson = share_with_interval(8, 40)
    assert widths(5)[1] == pytest.approx(wilson["high"] - wilson["low"], rel=0.15)


def test_always_first_is_seen_whichever_response_is_better() -> None:
    always_first = [outcome(0.9, 0.1, 0.5), outcome(0.1, 0.9, 0.5, label="B")]
    found = measure_behaviour(always_first)
    assert found["first-position rate"]["value"] == 1.0
    assert found["consistency"]["value"] == 0.0


def test_confidence_is_the_top_probability_and_right_if_the_better_response_has_it() -> None:
    confidences, right = find_confidences([pair("A"), pair("B")], [make_verdict(0.2), make_verdict(0.3)])
    assert confidences.tolist() == [0.8, 0.7]
    assert right.tolist() == [0.0, 1.0]


def test_shorter_means_fewer_words_and_equal_ones_count_half() -> None:
    assert [prefer_shorter(pair("A")), prefer_shorter(pair("B")), prefer_shorter(pair(a="incredible"))] == [
        0.0,
        1.0,
        0.5,
    ]
