"""Verification: what detections say about a claim."""

import pytest

from experts.claims import Claim
from experts.reliability import Reliability
from experts.verify import Check, Checks, Rule
from experts.verify import verify_claims as verify_claims_of_images
from genrm.types import Detection, Evidence, Polarity, mean_support

GOOD, WEAK = Reliability(recall=0.95, false_alarm_rate=0.02), Reliability(recall=0.55, false_alarm_rate=0.3)


def verify_claims(claims: list[Claim], checks: Checks, *, rule: Rule = "weighted") -> tuple[Evidence, ...]:
    """The evidence where no claim has a place, so that the size of the image does not matter."""
    return verify_claims_of_images(claims, checks, sizes=[(20, 20)], rule=rule)


def claim(
    *,
    polarity: Polarity = "affirmed",
    count: int | None = None,
    is_exact: bool = False,
    is_narrower: bool = False,
    name: str = "dog",
) -> Claim:
    return Claim(name=name, polarity=polarity, count=count, is_exact=is_exact, is_narrower=is_narrower, mention=name)


def check(num_found: int, reliability: Reliability = GOOD, expert: str = "e") -> Check:
    boxes = tuple(
        Detection(phrase="dog", score=0.9, box=(i, 0, i + 1, 1), expert=expert, model="m") for i in range(num_found)
    )
    return Check(detections=boxes, reliability=reliability)


@pytest.mark.parametrize(
    ("claimed", "num_found", "finding"),
    [
        (claim(), 1, "supported"),
        (claim(), 3, "supported"),
        (claim(), 0, "unsupported"),
        (claim(count=1), 2, "supported"),  # "a dog" where there are two: true
        (claim(count=1, is_exact=True), 2, "contradicted"),  # "one dog" where there are two
        (claim(count=2, is_exact=True), 2, "supported"),
        (claim(count=3, is_exact=True), 2, "contradicted"),
        (claim(count=2, is_exact=True), 0, "unsupported"),
        (claim(polarity="denied"), 0, "supported"),
        (claim(polarity="denied"), 1, "contradicted"),
        (claim(polarity="denied", is_narrower=True), 0, "supported"),  # "no puppy"
        (claim(count=2, is_exact=True, is_narrower=True), 3, "supported"),  # "two puppies" where there are three dogs
        (claim(count=3, is_exact=True, is_narrower=True), 2, "contradicted"),
    ],
)
def test_one_good_expert_decides(claimed: Claim, num_found: int, finding: str) -> None:
    (evidence,) = verify_claims([claimed], {"dog": [check(num_found)]})
    assert evidence.finding == finding
    assert evidence.probability is not None
    assert (evidence.probability > 0.5) == (finding == "supported")
    assert len(evidence.detections) == num_found


def test_what_nobody_could_check_is_unchecked_and_has_no_probability() -> None:
    (evidence,) = verify_claims([claim(name="spaceship")], {"dog": [check(1)]})
    assert (evidence.finding, evidence.probability, evidence.detections) == ("unchecked", None, ())


def test_a_kind_that_is_denied_is_unchecked_where_others_are_found() -> None:
    (evidence,) = verify_claims([claim(polarity="denied", is_narrower=True)], {"dog": [check(1)]})
    assert (evidence.finding, evidence.probability, len(evidence.detections)) == ("unchecked", None, 1)


@pytest.mark.parametrize("number", range(1, 14))
def test_as_many_boxes_as_are_claimed_never_contradict(number: int) -> None:
    """With a recall of 0.8 five boxes are most probably those of six dogs; yet they bear "five dogs" out."""
    (evidence,) = verify_claims([claim(count=number, is_exact=True)], {"dog": [check(number, Reliability())]})
    assert evidence.finding == "supported"


def test_not_finding_is_weaker_evidence_for_a_blinder_expert() -> None:
    sharp, blind = (verify_claims([claim()], {"dog": [check(0, who)]})[0].probability for who in (GOOD, WEAK))
    assert sharp is not None
    assert blind is not None
    assert sharp < blind < 0.5


@pytest.mark.parametrize(
    ("rule", "finding"), [("any", "supported"), ("all", "unsupported"), ("weighted", "unsupported")]
)
def test_the_rule_decides_where_experts_disagree(rule: Rule, finding: str) -> None:
    """A weak expert sees a dog, a good one does not: weighted follows the good one."""
    checks = {"dog": [check(1, WEAK, "weak"), check(0, GOOD, "good")]}
    (evidence,) = verify_claims([claim()], checks, rule=rule)
    assert evidence.finding == finding
    assert [d.expert for d in evidence.detections] == ["weak"]


def test_support_is_the_mean_over_checked_claims() -> None:
    evidence = verify_claims([claim(), claim(name="ufo")], {"dog": [check(1)]})
    assert mean_support(evidence) == evidence[0].probability
    assert mean_support(verify_claims([claim(name="ufo")], {})) is None
    assert mean_support(()) is None
