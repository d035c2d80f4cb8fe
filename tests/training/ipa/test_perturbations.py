"""Image operators: nothing at strength 0, more and more with strength, the same for the same seed."""

import random
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from training.ipa.perturbations import OPERATORS, Kind, Perturbation, Perturbations

KINDS: tuple[Kind, ...] = get_args(Kind)
STRENGTHS = (0.1, 0.3, 0.6, 1.0)


@pytest.fixture
def picture() -> Image.Image:
    """A slope of colours with small and large shapes on it: every operator has something to take away."""
    y, x = np.mgrid[0:96, 0:128].astype(float)
    slope = np.stack([x / 127, y / 95, 1 - x / 127], axis=-1) * 160
    shapes = np.random.default_rng(0).random((24, 32, 3)) * 90
    blocks = np.asarray(Image.fromarray(shapes.astype(np.uint8)).resize((128, 96), Image.Resampling.NEAREST))
    return Image.fromarray((slope + blocks).clip(0, 255).astype(np.uint8))


def distance(one: Image.Image, other: Image.Image) -> float:
    """Root mean square of the differences of pixels."""
    return float(np.sqrt(np.mean((np.asarray(one, dtype=float) - np.asarray(other, dtype=float)) ** 2)))


def test_there_is_an_operator_of_every_kind() -> None:
    assert set(OPERATORS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_0_gives_the_picture_back(kind: Kind, picture: Image.Image) -> None:
    assert distance(Perturbation(kind=kind, strength=0, seed=1).apply(picture), picture) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 7])
def test_more_strength_takes_more_away_and_keeps_the_size(kind: Kind, seed: int, picture: Image.Image) -> None:
    changed = [Perturbation(kind=kind, strength=strength, seed=seed).apply(picture) for strength in STRENGTHS]
    assert {image.size for image in changed} == {picture.size}
    assert {image.mode for image in changed} == {"RGB"}
    distances = [distance(image, picture) for image in changed]
    assert 0 < distances[0] < distances[1] < distances[2] < distances[3]


@pytest.mark.parametrize("kind", ["noise", "crop", "occlusion", "colour"])
def test_a_seed_makes_the_same_picture_and_another_seed_another_one(kind: Kind, picture: Image.Image) -> None:
    one, again, other = (Perturbation(kind=kind, strength=0.5, seed=seed).apply(picture) for seed in (3, 3, 4))
    assert distance(one, again) == 0
    assert distance(one, other) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_one_pixel_survives_every_operator(kind: Kind) -> None:
    assert Perturbation(kind=kind, strength=1, seed=0).apply(Image.new("RGB", (1, 1))).size == (1, 1)


def test_perturbations_are_drawn_from_the_kinds_and_the_range_that_are_set() -> None:
    settings = Perturbations(kinds=("blur", "jpeg"), min_strength=0.2, max_strength=0.4)
    rng = random.Random(0)
    drawn = [settings.draw(rng) for _ in range(200)]
    assert {each.kind for each in drawn} == {"blur", "jpeg"}
    assert all(0.2 <= each.strength <= 0.4 for each in drawn)
    assert str(Perturbation(kind="blur", strength=0.256, seed=0)) == "blur 0.26"


@pytest.mark.parametrize("values", [{"min_strength": 0.5, "max_strength": 0.4}, {"max_strength": 1.5}, {"kinds": ()}])
def test_a_range_that_is_none_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Perturbations.model_validate(values)
