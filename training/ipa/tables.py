"""The rows that IPA writes: pairs of responses for the generator, pairs of feedback for the reviser.

Both are in TRL's vision preference format (`training.preference_rows`) with where they come from beside it. The prompt
of a feedback pair is what the reviser is asked, without the reference, whoever had it in view when it was written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.ipa.items import Item
from training.ipa.pairs import Two
from training.ipa.prompts import PromptStyle, ask_feedback
from training.preference_rows import Row, make_preference_row, write_preference_rows
from training.sources import SOURCE_ROW

DATA, FEEDBACK = "data", "feedback"

_COMMON = ("id", SOURCE_ROW, "round", "group", "form", "reference")
_SIDES = ("from", "generator", "perturbation")
PAIR_TEXTS = (*_COMMON, *(f"{side}_{what}" for side in ("chosen", "rejected") for what in _SIDES))
FEEDBACK_TEXTS = (*_COMMON, "about", "chosen_led_to", "rejected_led_to")

Images = Sequence[Mapping[str, Any]]


def make_row(item: Item, images: Images, two: Two, *, number: int, index: int) -> Row:
    """A pair of responses. number: of the round; index: of the pair among the item's."""
    origins = {
        f"{side}_{what}": value
        for side, answer in zip(("chosen", "rejected"), two, strict=True)
        for what, value in zip(_SIDES, (answer.source, str(answer.generator or ""), answer.perturbation), strict=True)
    }
    return make_preference_row(
        images=images,
        question=item.question,
        chosen=two[0].text,
        rejected=two[1].text,
        **_provenance(item, number=number, index=index),
        **origins,
    )


def make_feedback_row(item: Item, images: Images, two: Two, *, style: PromptStyle, number: int, index: int) -> Row:
    """A pair of feedback texts on one response, from the two revisions that they led to."""
    asked = ask_feedback(style, (), item.question, two[0].of)
    return make_preference_row(
        images=images,
        question=asked.shared + asked.tail,
        chosen=two[0].feedback,
        rejected=two[1].feedback,
        **_provenance(item, number=number, index=index),
        about=two[0].of,
        chosen_led_to=two[0].text,
        rejected_led_to=two[1].text,
    )


def write_pair_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write one file of `data/`."""
    write_preference_rows(path, rows, texts=PAIR_TEXTS)


def write_feedback_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write one file of `feedback/`."""
    write_preference_rows(path, rows, texts=FEEDBACK_TEXTS)


def _provenance(item: Item, *, number: int, index: int) -> dict[str, str]:
    return {
        "id": f"{item.id}#{number}-{index}",
        SOURCE_ROW: item.id,
        "round": str(number),
        "group": item.group,
        "form": "opened choice" if item.was_opened else item.form,
        "reference": item.reference,
    }
