"""Both orders and all samples become one verdict: mirrored exactly, honest about what could not be read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm.engines.contract import Completion
from genrm.prompts import MARKER
from genrm.types import FinishReason, ProbabilitySource, Response, Timings, Usage, Verdict
from genrm.verdict import MAX_LOG_ODDS, Sample, VerdictRules, choose_critique, combine_samples, read_completion, sigmoid

RULES = VerdictRules()
USAGE = Usage(prompt_tokens=0, completion_tokens=0, cached_tokens=0)
LOGPROB = st.one_of(st.floats(-60, 0), st.just(-math.inf))
LABEL_LOGPROBS = st.one_of(st.none(), st.tuples(LOGPROB, LOGPROB))
TEXTS = st.sampled_from(["Seen. Verdict: First", "Seen. Verdict: Second", "Nothing seen."])


def write(
    text: str = "A critique. Verdict: First",
    label_logprobs: tuple[float, ...] | None = None,
    *,
    finish_reason: FinishReason = "stop",
) -> Completion:
    return Completion(
        text=text,
        label_logprobs=label_logprobs,
        finish_reason=finish_reason,
        prompt_tokens=10,
        completion_tokens=len(text.split()),
        cached_tokens=0,
    )


def believe(first: Response, p_first: float, *, mass: float = 1.0, critique: str = "Seen.") -> Sample:
    logprobs = tuple(math.log(mass * p) if p else -math.inf for p in (p_first, 1 - p_first))
    return read_completion(write(f"{critique} Verdict: First", logprobs), first=first)


def vote(first: Response, label: str | None) -> Sample:
    text = f"Seen. Verdict: {label}" if label else "Nothing seen."
    return read_completion(write(text), first=first, source="votes")


def conclude(*samples: Sample, rules: VerdictRules = RULES, source: ProbabilitySource = "logprobs") -> Verdict:
    return combine_samples(samples, rules=rules, source=source, usage=USAGE, timings=Timings())


def probability_of_a(verdict: Verdict) -> float:
    assert verdict.probabilities is not None
    return verdict.probabilities.A


class TestReading:
    """One completion is read for what it says about A and B."""

    def test_probabilities_belong_to_the_names_and_not_to_the_positions(self) -> None:
        logprobs = (math.log(0.6), math.log(0.2))
        a_first, b_first = (read_completion(write(label_logprobs=logprobs), first=first).reading for first in "AB")  # type: ignore[arg-type]  # iterating a string
        assert a_first.probabilities is not None
        assert b_first.probabilities is not None
        assert pytest.approx(0.75) == a_first.probabilities.A
        assert pytest.approx(0.75) == b_first.probabilities.B
        assert a_first.label_mass == pytest.approx(0.8)

    def test_the_critique_is_the_text_before_the_last_verdict(self) -> None:
        sample = read_completion(write("A dog. Verdict: First. No: Verdict: Second", (-1.0, -0.5)), first="A")
        assert sample.reading.critique == "A dog. Verdict: First. No:"

    def test_fast_mode_has_no_critique_and_ends_at_its_label(self) -> None:
        completion = write(" First", (-0.1, -3.0), finish_reason="length")
        reading = read_completion(completion, first="A", answer_prefix=MARKER).reading
        assert (reading.critique, reading.finish_reason) == ("", "stop")

    def test_a_cut_critique_says_so(self) -> None:
        reading = read_completion(write("A dog and", finish_reason="length"), first="A").reading
        assert (reading.critique, reading.finish_reason) == ("A dog and", "length")
        assert reading.probabilities is None

    @pytest.mark.parametrize("logprobs", [None, (math.nan, -1.0), (-math.inf, -math.inf), (-1e6, -1e6)])
    def test_no_usable_log_probabilities_mean_unparsed_and_never_a_half(
        self, logprobs: tuple[float, float] | None
    ) -> None:
        sample = read_completion(write("Seen. Verdict: First", logprobs), first="A")
        assert sample.log_odds is None
        assert sample.reading.probabilities is None
        assert sample.reading.label_mass == 0

    def test_certainty_is_bounded(self) -> None:
        assert read_completion(write(label_logprobs=(0.0, -math.inf)), first="A").log_odds == MAX_LOG_ODDS
        assert read_completion(write(label_logprobs=(-9999.0, 0.0)), first="A").log_odds == -MAX_LOG_ODDS

    def test_label_mass_never_exceeds_one_by_rounding(self) -> None:
        assert read_completion(write(label_logprobs=(1e-7, -0.6)), first="A").reading.label_mass == 1

    def test_a_vote_is_the_label_in_the_text_and_ignores_log_probabilities(self) -> None:
        reading = read_completion(write("Verdict: Second", (0.0, -9.0)), first="A", source="votes").reading
        assert reading.probabilities is not None
        assert (reading.probabilities.A, reading.probabilities.B, reading.label_mass) == (0, 1, 1)


class TestCombination:
    """Orders are averaged as log-odds, samples as probabilities."""

    def test_probabilities_are_averaged_over_orders_as_log_odds(self) -> None:
        # logit 0.9 = 2.1972, logit 0.6 = 0.4055; the mean, 1.3014, is 0.7861 as a probability.
        verdict = conclude(believe("A", 0.9), believe("B", 0.4))
        assert probability_of_a(verdict) == pytest.approx(0.7861, abs=1e-4)
        assert verdict.margin == pytest.approx(0.5722, abs=1e-4)
        assert (verdict.status, verdict.preferred, verdict.consistent) == ("decided", "A", True)

    def test_a_pure_preference_for_a_position_cancels_to_a_tie(self) -> None:
        verdict = conclude(believe("A", 0.8), believe("B", 0.8))
        assert probability_of_a(verdict) == 0.5
        assert (verdict.status, verdict.preferred, verdict.consistent) == ("tie", None, False)

    def test_samples_of_one_order_are_averaged_as_probabilities(self) -> None:
        # Mean of 0.99 and 0.51 is 0.75; averaging log-odds would have given 0.91.
        a_first = [believe("A", 0.99), believe("A", 0.51)]
        assert probability_of_a(conclude(*a_first, believe("B", 0.25))) == pytest.approx(0.75)

    def test_orders_weigh_the_same_however_many_samples_were_parsed(self) -> None:
        samples = [
            believe("A", 0.9),
            read_completion(write("Nothing."), first="A"),
            believe("B", 0.4),
            believe("B", 0.4),
        ]
        verdict = conclude(*samples)
        assert probability_of_a(verdict) == pytest.approx(0.7861, abs=1e-4)
        assert verdict.label_mass == 0.5  # the unparsed sample counts as no mass

    def test_certain_samples_stay_finite(self) -> None:
        verdict = conclude(believe("A", 1.0), believe("A", 1.0), believe("B", 0.5), believe("B", 0.5))
        assert probability_of_a(verdict) == pytest.approx(sigmoid(MAX_LOG_ODDS / 2))

    def test_label_mass_is_that_of_the_weaker_order_and_confidence_follows_it(self) -> None:
        verdict = conclude(believe("A", 0.9, mass=0.95), believe("B", 0.1, mass=0.4))
        assert verdict.label_mass == pytest.approx(0.4)
        assert verdict.confidence == pytest.approx(0.9 * 0.4)

    def test_readings_are_listed_with_a_first_before_b_first(self) -> None:
        verdict = conclude(believe("B", 0.2), believe("A", 0.9), believe("B", 0.3), believe("A", 0.8))
        assert [reading.first for reading in verdict.readings] == ["A", "A", "B", "B"]

    def test_two_even_orders_are_a_consistent_tie(self) -> None:
        verdict = conclude(believe("A", 0.5), believe("B", 0.5))
        assert (verdict.status, verdict.consistent) == ("tie", True)

    def test_an_even_order_does_not_agree_with_a_decided_one(self) -> None:
        assert conclude(believe("A", 0.9), believe("B", 0.5)).consistent is False


class TestRules:
    """When a verdict is no decision, and what it says then."""

    @pytest.mark.parametrize(("tie_margin", "status"), [(0.59, "decided"), (0.61, "tie"), (1.0, "tie")])
    def test_a_margin_up_to_the_threshold_is_a_tie(self, tie_margin: float, status: str) -> None:
        rules = VerdictRules(tie_margin=tie_margin)
        verdict = conclude(believe("A", 0.8), believe("B", 0.2), rules=rules)  # a margin of 0.6
        assert verdict.status == status
        assert (verdict.preferred is None) == (status == "tie")
        assert probability_of_a(verdict) == pytest.approx(0.8)

    def test_little_label_mass_in_one_order_abstains_with_the_numbers(self) -> None:
        verdict = conclude(believe("A", 0.9), believe("B", 0.1, mass=0.05), rules=VerdictRules(min_label_mass=0.2))
        assert (verdict.status, verdict.preferred) == ("abstained", None)
        assert verdict.reason is not None
        assert "5.0%" in verdict.reason
        assert "20.0%" in verdict.reason
        assert probability_of_a(verdict) == pytest.approx(0.9)

    def test_no_verdict_in_either_order_abstains_without_probabilities(self) -> None:
        verdict = conclude(*(read_completion(write("Nothing."), first=first) for first in ("A", "B")))
        assert (verdict.status, verdict.preferred, verdict.probabilities, verdict.margin) == (
            "abstained",
            None,
            None,
            None,
        )
        assert (verdict.confidence, verdict.label_mass, verdict.consistent) == (0, 0, None)
        assert verdict.reason == "The model gave no verdict in either order of the responses."

    @pytest.mark.parametrize(("read", "unread"), [("A", "B"), ("B", "A")])
    def test_a_verdict_in_one_order_only_abstains_and_names_it(self, read: Response, unread: Response) -> None:
        verdict = conclude(believe(read, 0.9), read_completion(write("Nothing."), first=unread))
        assert (verdict.status, verdict.preferred, verdict.consistent) == ("abstained", None, None)
        assert verdict.reason is not None
        assert f"response {read} stood first" in verdict.reason
        assert probability_of_a(verdict) == pytest.approx(0.9 if read == "A" else 0.1)
        assert verdict.confidence == 0

    def test_a_text_cut_at_the_limit_is_named_as_the_cause(self) -> None:
        cut = read_completion(write("A dog and", finish_reason="length"), first="B")
        verdict = conclude(believe("A", 0.9), cut)
        assert verdict.reason is not None
        assert verdict.reason.endswith("raise max_tokens.")

    @pytest.mark.parametrize("field", ["tie_margin", "min_label_mass"])
    @pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
    def test_a_threshold_outside_its_range_is_refused(self, field: str, value: float) -> None:
        with pytest.raises(ValueError, match=f"{field} is .* between 0 and 1"):
            VerdictRules(**{field: value})


class TestVotes:
    """Verdicts are counted where there are no log-probabilities."""

    def test_the_share_of_votes_is_smoothed_by_half_a_vote(self) -> None:
        samples = [vote("A", "First")] * 4 + [vote("A", "Second")] + [vote("B", "Second")] * 4 + [vote("B", "First")]
        verdict = conclude(*samples, source="votes")
        assert probability_of_a(verdict) == pytest.approx(4.5 / 6)
        assert verdict.probability_source == "votes"
        assert verdict.label_mass == 1

    def test_unanimous_votes_are_no_certainty(self) -> None:
        verdict = conclude(*[vote("A", "First")] * 5, *[vote("B", "Second")] * 5, source="votes")
        assert probability_of_a(verdict) == pytest.approx(5.5 / 6)

    def test_unparsed_votes_do_not_count_for_anyone_and_lower_the_label_mass(self) -> None:
        votes = [vote("A", "First"), vote("A", None), vote("B", "Second"), vote("B", "Second")]
        verdict = conclude(*votes, source="votes")
        expected = sigmoid((math.log(1.5 / 0.5) + math.log(2.5 / 0.5)) / 2)
        assert probability_of_a(verdict) == pytest.approx(expected)
        assert verdict.label_mass == 0.5


class TestCritique:
    """Which of the critiques is shown."""

    def test_it_comes_from_the_a_first_reading_if_that_agrees(self) -> None:
        samples = [believe("A", 0.9, critique="one"), believe("B", 0.1, critique="two")]
        assert choose_critique(samples, preferred="A") == "one"

    def test_it_comes_from_the_other_order_if_only_that_agrees(self) -> None:
        samples = [believe("A", 0.6, critique="one"), believe("B", 0.9, critique="two")]
        assert conclude(*samples).preferred == "B"
        assert conclude(*samples).critique == "two"

    def test_it_comes_from_the_first_sample_that_agrees(self) -> None:
        samples = [believe("A", 0.2, critique="no"), believe("A", 0.99, critique="yes"), believe("B", 0.1)]
        assert conclude(*samples).critique == "yes"

    def test_without_a_preference_it_is_the_first_there_is(self) -> None:
        samples = [believe("A", 0.8, critique="one"), believe("B", 0.8, critique="two")]
        assert conclude(*samples).critique == "one"


@st.composite
def complete_orders(draw: st.DrawFn) -> tuple[list[Completion], list[Completion]]:
    num_samples = draw(st.integers(1, 4))
    completions = st.builds(write, TEXTS, LABEL_LOGPROBS)
    one, two = (draw(st.lists(completions, min_size=num_samples, max_size=num_samples)) for _ in range(2))
    return one, two


@given(
    orders=complete_orders(),
    source=st.sampled_from(["logprobs", "votes"]),
    tie_margin=st.floats(0, 1),
    min_label_mass=st.floats(0, 1),
)
def test_exchanging_a_and_b_mirrors_the_verdict_exactly(
    orders: tuple[list[Completion], list[Completion]],
    source: ProbabilitySource,
    tie_margin: float,
    min_label_mass: float,
) -> None:
    rules = VerdictRules(tie_margin=tie_margin, min_label_mass=min_label_mass)
    one, two = orders

    def judge(a_first: list[Completion], b_first: list[Completion]) -> Verdict:
        samples = [read_completion(completion, first="A", source=source) for completion in a_first]
        samples += [read_completion(completion, first="B", source=source) for completion in b_first]
        return conclude(*samples, rules=rules, source=source)

    straight, swapped = judge(one, two), judge(two, one)
    assert (straight.status, straight.consistent) == (swapped.status, swapped.consistent)
    assert (straight.label_mass, straight.confidence) == (swapped.label_mass, swapped.confidence)
    assert {None: None, "A": "B", "B": "A"}[straight.preferred] == swapped.preferred
    if straight.probabilities is None or swapped.probabilities is None:
        assert straight.probabilities == swapped.probabilities
    else:
        assert (straight.probabilities.A, straight.probabilities.B) == (
            swapped.probabilities.B,
            swapped.probabilities.A,
        )
        assert pytest.approx(1) == straight.probabilities.A + straight.probabilities.B


@given(log_odds=st.floats(-1e5, 1e5))
def test_the_sigmoid_never_overflows_and_is_antisymmetric(log_odds: float) -> None:
    assert 0 <= sigmoid(log_odds) <= 1
    assert sigmoid(log_odds) + sigmoid(-log_odds) == pytest.approx(1)
