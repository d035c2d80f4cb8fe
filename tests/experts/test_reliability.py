"""Reliability: how strongly finding something, or nothing, speaks for a count."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.reliability import Reliability, infer_counts, read_reliability
from genrm.errors import ModelLoadError

rates = st.floats(0.01, 0.99)
reliabilities = st.builds(lambda r, f: Reliability(recall=r, false_alarm_rate=f), rates, rates)


def test_finding_nothing_is_as_strong_as_the_recall_says() -> None:
    """By hand, at most three objects (top = 0 + 3): prior 1/2 for none, 1/6 for each of 1, 2, 3; recall 0.9, no false
    alarm when nothing is found. Weights 1/2, 0.1/6, 0.01/6, 0.001/6, so P(none) = 0.5 / 0.5185 = 0.96432.
    """
    posterior = infer_counts([(0, Reliability(recall=0.9, false_alarm_rate=0.2))])
    assert posterior[0] == pytest.approx(0.5 / (0.5 + 0.111 / 6), rel=1e-9)


def test_a_blind_expert_says_nothing() -> None:
    """With recall near 0 finding nothing leaves the prior as it was."""
    posterior = infer_counts([(0, Reliability(recall=1e-9, false_alarm_rate=0.05))])
    assert posterior[0] == pytest.approx(0.5, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 6), reliabilities), min_size=1, max_size=3), st.integers(0, 9))
def test_it_is_a_distribution(found: list[tuple[int, Reliability]], at_least: int) -> None:
    posterior = infer_counts(found, at_least=at_least)
    assert sum(posterior) == pytest.approx(1)
    assert len(posterior) > at_least


@given(st.integers(0, 5), st.floats(0.6, 0.99), st.floats(0.01, 0.2))
def test_a_good_expert_is_believed_about_the_count(found: int, recall: float, false_alarms: float) -> None:
    posterior = infer_counts([(found, Reliability(recall=recall, false_alarm_rate=false_alarms))])
    above_none = max(range(1, len(posterior)), key=lambda count: posterior[count])
    assert (posterior[0] > 0.5) if found == 0 else above_none >= found


def test_a_second_expert_that_agrees_makes_it_surer() -> None:
    one = Reliability(recall=0.8, false_alarm_rate=0.05)
    assert infer_counts([(2, one), (2, one)])[2] > infer_counts([(2, one)])[2]


@pytest.mark.parametrize("found", [(0,), (5,), (300,), (900, 0), (0, 900)])
@pytest.mark.parametrize("reliability", [Reliability(), Reliability(recall=0.9999, false_alarm_rate=0.0001)])
def test_hundreds_of_objects_and_absurd_claims_leave_a_distribution(
    found: tuple[int, ...], reliability: Reliability
) -> None:
    posterior = infer_counts([(number, reliability) for number in found], at_least=10**9)
    assert sum(posterior) == pytest.approx(1)
    assert len(posterior) < 1_000


def test_the_likelihood_is_the_one_worked_out_by_hand() -> None:
    """One object found, recall 0.8, false alarms 0.1, at most four (top = 1 + 3): prior 1/2, and 1/8 each.
    None there: 0.9 · 0.1. One: (0.2 · 0.1 + 0.8) · 0.9. Two: (0.04 · 0.1 + 2 · 0.8 · 0.2) · 0.9, and so on.
    """
    weights = [0.5 * 0.1, *(0.125 * (0.2**n * 0.1 + n * 0.8 * 0.2 ** (n - 1)) for n in range(1, 5))]
    posterior = infer_counts([(1, Reliability(recall=0.8, false_alarm_rate=0.1))])
    assert posterior == pytest.approx([weight / sum(weights) for weight in weights])


@pytest.mark.parametrize("recall", [0, 1, -0.1, 1.5])
def test_a_rate_outside_the_open_interval_is_refused(recall: float) -> None:
    with pytest.raises(ValueError, match="recall is"):
        Reliability(recall=recall)


def test_what_was_measured_is_read_from_the_model_folder(tmp_path: Path) -> None:
    assert read_reliability(str(tmp_path)) is None
    (tmp_path / "reliability.json").write_text(json.dumps({"recall": 0.9, "false_alarm_rate": 0.01, "n": 3}))
    assert read_reliability(str(tmp_path)) == Reliability(recall=0.9, false_alarm_rate=0.01)


@pytest.mark.parametrize("content", ["{", "[]", '{"recall": 0.9}', '{"recall": 2, "false_alarm_rate": 0.1}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "reliability.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"reliability\.json"):
        read_reliability(str(tmp_path))
