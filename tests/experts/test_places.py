"""Where in the image a text says that an object is, and what detections make of it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from experts.claim_extractors.image_places import read_places
from experts.claim_extractors.mentions import read_mentions
from experts.claim_extractors.tokens import Token, split_sentences
from experts.claims import Claim, extract_claims
from experts.fake import FakeExpert
from experts.findings import describe_claim
from experts.lexicon import default_lexicon
from experts.panel import ExpertPanel
from experts.places import Column, Place, Row
from experts.reliability import Reliability
from experts.verify import PLACE_PRECISION, Check, Rule, verify_claims
from genrm.types import Comparison, Detection, Evidence

GOOD = Reliability(recall=0.9, false_alarm_rate=0.1)

PLACED = [
    ("The cup is in the middle left.", "cup: middle left"),
    ("There is a dog in the upper left.", "dog: upper left"),
    ("A cat lies in the lower right corner of the image.", "cat: lower right"),
    ("There is a bus on the left.", "bus: left"),
    ("There is a bus on the left side.", "bus: left"),
    ("A bird is flying on the left side of the picture.", "bird: left"),
    ("A kite flies at the top of the photo.", "kite: top"),
    ("A small boat can be seen at the bottom.", "boat: bottom"),
    ("In the center of the image, there is a vase.", "vase: middle center"),
    ("There is a clock in the middle.", "clock: middle center"),
    ("A clock is visible to the far right of the picture.", "clock: right"),
    ("On the right is a dog.", "dog: right"),
    ("On the right, we can see a dog sleeping.", "dog: right"),
    ("A man is standing on the left and a bicycle is on the right.", "person: left, bicycle: right"),
    (
        "On the left, a woman smiles; on the right side of the photo, a bicycle leans against a wall.",
        "person: left, bicycle: right",
    ),
    ("A bird in the upper left, a cat in the lower right.", "bird: upper left, cat: lower right"),
    ("The bottle is located in the top-right corner.", "bottle: upper right"),
    ("A bottle in the bottom left-hand corner.", "bottle: lower left"),
    ("Bottom left: a bottle.", "bottle: lower left"),
    ("**Fire hydrant**: lower left", "fire hydrant: lower left"),
    ("The bottle sits at the top center of the frame.", "bottle: upper center"),
    ("A wooden chair is at the bottom centre.", "chair: lower center"),
    ("An umbrella appears to be in the center right part of the image.", "umbrella: middle right"),
    ("A dog (left) and a cat (right).", "dog: left, cat: right"),
    ("The left side of the image shows a horse.", "horse: left"),
    ("The TV is in the image's upper left.", "tv: upper left"),
    ("The picture has a dog in the upper right.", "dog: upper right"),
    ("A cup of coffee is in the lower left.", "cup: lower left"),
    ("There is a pair of scissors in the lower right.", "scissors: lower right"),
    ("The cat isn't red, and it sleeps. The cat is on the left.", "cat: left"),
    ("A TV is mounted in the top right corner.", "tv: upper right"),
    ("A tall giraffe stands near the right edge of the photo.", "giraffe: right"),
    ("The toilet is on the right hand side.", "toilet: right"),
    ("The teddy bear is positioned right in the middle of the picture.", "teddy bear: middle center"),
    ("At the bottom of the image, a skateboard lies on the ground.", "skateboard: bottom"),
    ("The cup is on the left, next to the plate.", "cup: left"),
    ("The dog is on the left, not on the right.", "dog: left"),
    ("There is a dog in the lower left. The dog is brown.", "dog: lower left"),
    ("There is a dog, on the left is a cat.", "cat: left"),
    ("- **Top left:** A dog.\n- **Bottom right:** A cat.", "dog: upper left, cat: lower right"),
    ("A clock is mounted on the wall in the upper left part of the image.", "clock: upper left"),
    ("The bottom right of the photo shows a keyboard.", "keyboard: lower right"),
    ("To the left of the image, a man rides a horse.", "person: left"),
    ("The surfboard, in the middle left part of the picture, is yellow.", "surfboard: middle left"),
]
NOT_PLACED = [
    # beside something else, or a part of it
    "A cat sits to the left of the dog.",
    "The book is to the right of the table.",
    "A cat lies on the left of the sofa.",
    "The dog sits on the left side of the couch.",
    "A cup on top of the refrigerator.",
    "A clock is at the top of the tower.",
    "A truck stands at the bottom of the hill.",
    "A cat sleeps in the middle of the bed.",
    "A bird sits between the left and the right post.",
    "To his left is a dog.",
    "To the left, a dog is barking.",
    "A cake with an apple in the middle.",
    "A table with a vase in the center.",
    "A sandwich with an orange and an apple on the top.",
    "A bowl has a sandwich on the left and an apple on the right.",
    "The cup on the table is on the left.",
    "A cup next to a bottle is in the lower left.",
    "A cat hangs in the middle of the picture frame.",
    "The cat is at the top right next to the window.",
    "The second dog from the left is brown.",
    # no place of an image
    "A dog in the foreground and a cat in the background.",
    "A clock hangs on the left wall.",
    "A book lies on the top shelf.",
    "A man holds an umbrella in the right hand.",
    "A train at the center platform.",
    "The bus turned left at the light.",
    "The dog is looking to the left.",
    "The dog runs to the right.",
    "A car is driving on the left.",
    "A person is right in front of the bus.",
    # denied, asked, supposed, quoted, left open
    "There is no dog on the left.",
    "The dog is not on the left.",
    "The dog isn't in the upper left but in the lower right.",
    "It is not true that the cat is in the lower right.",
    "The claim that the dog is on the left is wrong.",
    "Is the dog in the upper left?",
    "If the dog is on the left, it will see the cat.",
    "The dog may be on the left.",
    "Perhaps the dog is on the left.",
    "The dog seems to be in the upper left.",
    "You asked about the dog in the upper left.",
    'The sign says "dog on the left".',
    "The dog is on the left or on the right.",
    "There are chairs on the left and right.",
    # several
    "Two dogs are on the left.",
    "Some dogs are in the upper left.",
    "A dog is on the left and another dog is on the right.",
    "There is a dog, on the left, a cat is sleeping.",
    "The dog on the left is larger than the dog on the right.",
    "There is a dog in the lower left. The dog is in the upper right.",
    "There are two dogs. One dog is on the left.",
]


WORDS = (
    *("a", "the", "cup", "dog", "is", "on", "in", "at", "to", "of", "and", "or", "no", "with", ",", ".", "(", ")", "-"),
    *("left", "right", "top", "upper", "middle", "corner", "hand", "left-hand", "top-", "image", "image's"),
)


def told_places(text: str) -> str:
    return ", ".join(f"{claim.name}: {claim.place.name}" for claim in extract_claims(text) if claim.place)


@pytest.mark.parametrize(("text", "places"), PLACED)
def test_places_in_the_image_are_read_off_sentences(text: str, places: str) -> None:
    assert told_places(text) == places


@pytest.mark.parametrize("text", NOT_PLACED)
def test_what_is_no_clear_place_in_the_image_is_not_read_as_one(text: str) -> None:
    assert told_places(text) == ""


def test_one_cup_at_a_place_says_nothing_of_cups_elsewhere() -> None:
    (placed,) = extract_claims("There is one cup in the lower left.")
    (counted,) = extract_claims("There is one cup. The cup is in the lower left.")
    assert (placed.is_exact, counted.is_exact) == (False, True)
    assert placed.place == counted.place == Place(row="lower", column="left")


class CountingTokens(Sequence[Token]):
    """Tokens that count how often one of them is looked at by its index."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens, self.looks = tokens, 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return self._tokens[index]

    def __len__(self) -> int:
        return len(self._tokens)


@pytest.mark.parametrize(
    "sentence",
    [
        "a cup in the upper left",
        "in the far very far far",
        "of the the whole",
        "a cup and",
        "is on the left or",
        "which is in",
    ],
)
def test_the_looks_at_words_grow_linearly_with_the_sentence(sentence: str) -> None:
    looks = []
    for repeats in (15, 30):
        (whole,) = split_sentences(" ".join([sentence] * repeats))
        mentions = read_mentions(whole.tokens, default_lexicon(), set())
        tokens = CountingTokens(whole.tokens)
        read_places(tokens, mentions)
        looks.append(tokens.looks / len(tokens))
    assert looks[1] <= 1.1 * looks[0]


@given(text=st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))
def test_no_text_makes_the_reading_fail(text: str) -> None:
    assert isinstance(told_places(text), str)


@pytest.mark.parametrize(
    ("row", "column", "inside", "outside"),
    [
        (None, "left", [(0, 0), (0.5, 1)], [(0.51, 0.5)]),  # half of the width, any height
        (None, "right", [(0.5, 0), (1, 1)], [(0.49, 0.5)]),
        ("upper", None, [(0, 0), (1, 0.5)], [(0.5, 0.51)]),
        ("lower", None, [(0, 0.5), (1, 1)], [(0.5, 0.49)]),
        ("middle", "left", [(0, 0.26), (0.41, 0.74)], [(0.42, 0.5), (0.2, 0.24), (0.2, 0.76)]),  # 1/3 + 1/12 = 5/12
        ("middle", "center", [(0.26, 0.26), (0.74, 0.74)], [(0.24, 0.5), (0.5, 0.76)]),
        ("lower", "right", [(0.59, 0.59), (1, 1)], [(0.58, 0.7), (0.7, 0.58)]),
    ],
)
def test_a_side_is_a_half_and_a_ninth_reaches_a_twelfth_further(
    row: Row | None, column: Column | None, inside: list[tuple[float, float]], outside: list[tuple[float, float]]
) -> None:
    place = Place(row=row, column=column)
    assert all(place.holds(x, y) for x, y in inside)
    assert not any(place.holds(x, y) for x, y in outside)


def test_a_place_without_row_and_column_is_refused() -> None:
    with pytest.raises(ValueError, match="neither row nor column"):
        Place()


def claim(place: Place, *, count: int | None = None, is_exact: bool = False) -> Claim:
    return Claim(name="cup", polarity="affirmed", count=count, is_exact=is_exact, place=place, mention="cup")


def box(x: float, y: float, *, image: int = 0, expert: str = "e") -> Detection:
    """A cup around a point of an image of 120 × 60 pixels. x, y: shares of its sides."""
    corners = (120 * x - 3, 60 * y - 3, 120 * x + 3, 60 * y + 3)
    return Detection(phrase="cup", score=0.9, box=corners, image=image, expert=expert, model="m")


def verify(claimed: Claim, *found: list[Detection], rule: Rule = "weighted") -> Evidence:
    checks = {"cup": [Check(detections=tuple(boxes), reliability=GOOD) for boxes in found]}
    (evidence,) = verify_claims([claimed], checks, sizes=[(120, 60), (120, 60)], rule=rule)
    return evidence


MIDDLE_LEFT = Place(row="middle", column="left")


def test_the_probability_of_a_place_by_hand() -> None:
    """Recall 0.9, false alarms 0.1, one cup found. Counts 0 to 4 have the priors 1/2 and four times 1/8, and the
    likelihoods 0.09, 0.819, 0.1629, 0.02439 and 0.003249: weights 0.045, 0.102375, 0.0203625, 0.00304875, 0.000406125,
    0.171192375 together. Some are there with 0.126192375, more than one with 0.023817375.

    Nothing found: counts 0 to 3 with the priors 1/2 and three times 1/6 and the likelihoods 0.9, 0.09, 0.009 and
    0.0009: 0.45 against 0.01665.
    """
    there = verify(claim(MIDDLE_LEFT), [box(0.2, 0.5)])
    elsewhere = verify(claim(MIDDLE_LEFT), [box(0.8, 0.5)])
    nowhere = verify(claim(MIDDLE_LEFT), [])
    assert [e.finding for e in (there, elsewhere, nowhere)] == ["supported", "contradicted", "unsupported"]
    assert [e.place for e in (there, elsewhere, nowhere)] == ["middle left"] * 3
    assert there.probability == pytest.approx(0.87 * 0.126192375 / 0.171192375)
    assert elsewhere.probability == pytest.approx(0.023817375 / 0.171192375 / 2)
    assert nowhere.probability == pytest.approx(0.01665 / 0.46665 / 2)
    assert PLACE_PRECISION == 0.87


@pytest.mark.parametrize("found", [[], [box(0.2, 0.5)], [box(0.8, 0.5)], [box(0.2, 0.5)] * 30, [box(0.8, 0.5)] * 30])
def test_the_probability_of_a_place_is_never_certain(found: list[Detection]) -> None:
    probability = verify(claim(MIDDLE_LEFT), found).probability
    assert probability is not None
    assert 0 < probability < 1


def test_one_of_several_at_the_place_is_enough() -> None:
    assert verify(claim(MIDDLE_LEFT), [box(0.8, 0.1), box(0.2, 0.5)]).finding == "supported"
    assert verify(claim(MIDDLE_LEFT), [box(0.8, 0.1), box(0.8, 0.9)]).finding == "contradicted"


def test_a_number_beside_the_place_counts_all_of_them() -> None:
    """As in "There is one cup. The cup is in the middle left."; two are found, one of them there."""
    claimed = claim(MIDDLE_LEFT, count=1, is_exact=True)
    assert verify(claimed, [box(0.2, 0.5)]).finding == "supported"
    assert verify(claimed, [box(0.2, 0.5), box(0.8, 0.1)]).finding == "contradicted"


def test_a_place_is_one_of_any_image_of_the_request() -> None:
    assert verify(claim(MIDDLE_LEFT), [box(0.8, 0.5), box(0.2, 0.5, image=1)]).finding == "supported"


@pytest.mark.parametrize(
    ("rule", "finding"), [("any", "supported"), ("weighted", "supported"), ("all", "contradicted")]
)
def test_the_rule_decides_where_experts_find_the_object_at_different_places(rule: Rule, finding: str) -> None:
    assert verify(claim(MIDDLE_LEFT), [box(0.2, 0.5)], [box(0.8, 0.5)], rule=rule).finding == finding


def test_an_object_that_nobody_could_check_has_an_unchecked_place() -> None:
    (evidence,) = verify_claims([claim(MIDDLE_LEFT)], {}, sizes=[(120, 60)])
    assert (evidence.finding, evidence.probability, evidence.place) == ("unchecked", None, "middle left")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("The cup is in the middle left.", "cup in the middle left"),
        ("The cup is on the right.", "cup on the right"),
        ("A cup stands at the bottom.", "cup at the bottom"),
        ("A cup stands in the center.", "cup in the middle center"),
        ("A cup stands here.", "cup × 1"),
    ],
)
async def test_a_place_is_told_as_people_say_it(text: str, told: str) -> None:
    panel = ExpertPanel([FakeExpert({"cup": 1})])
    found = await panel.verify_text([Image.new("RGB", (60, 30))], text)
    panel.close()
    assert [describe_claim(item) for item in found.evidence] == [told]


async def test_responses_that_differ_in_a_place_only_are_told_apart() -> None:
    """The fake finds its cup in the upper left corner, of each image by its own size."""
    panel = ExpertPanel([FakeExpert({"cup": 1})])
    given = Comparison(
        images=(Image.new("RGB", (600, 300)),),
        question="Where is the cup?",
        response_a="The cup is in the upper left.",
        response_b="The cup is in the lower left.",
    )
    found = await panel.examine(given)
    panel.close()
    assert [e.finding for e in (*found.evidence.A, *found.evidence.B)] == ["supported", "contradicted"]
    assert [s.places for s in found.sightings] == [("upper left",)]
