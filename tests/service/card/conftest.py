"""A verdict, and its card as data."""

from __future__ import annotations

from typing import Protocol

import pytest
from PIL import Image

from service.card.content import build_content
from service.card.layout import lay_out
from service.card.shapes import Layout
from service.openapi import EXAMPLE_RESPONSE
from service.schemas import JudgeResponse


class LayOut(Protocol):
    """Lays out the card of a verdict with some of its fields changed."""

    def __call__(
        self,
        *,
        images: tuple[Image.Image, ...] = ...,
        question: str = ...,
        a: str = ...,
        b: str = ...,
        **changes: object,
    ) -> Layout:
        """The card. changes: fields of the verdict."""


def make_verdict(**changes: object) -> JudgeResponse:
    """Two dogs are supported in A; three dogs are contradicted, and a cat unsupported, in B."""
    return JudgeResponse.model_validate({**EXAMPLE_RESPONSE, **changes})


@pytest.fixture
def lay_out_card() -> LayOut:
    def lay_out_card(
        *,
        images: tuple[Image.Image, ...] = (Image.new("RGB", (640, 480), "teal"),),
        question: str = "How many dogs are there?",
        a: str = "Two dogs.",
        b: str = "Three dogs and a cat.",
        **changes: object,
    ) -> Layout:
        return lay_out(build_content(make_verdict(**changes), images, question=question, a=a, b=b))

    return lay_out_card
