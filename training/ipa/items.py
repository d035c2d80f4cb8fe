"""The questions of a run: rows that can be used, some of them made open, each with the form of its answer."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL.Image import Image

from training.ipa.conversion import Form, find_form, open_up
from training.sources import Example, Skipped, log_skipped


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A question about pictures with its reference answer. options: of a choice. was_opened: its options were dropped.

    load_images: decodes the pictures; raises RowError if one is missing or unreadable.
    """

    id: str
    question: str
    reference: str
    form: Form
    options: tuple[str, ...] = ()
    group: str = ""
    was_opened: bool = False
    load_images: Callable[[], tuple[Image, ...]] = field(repr=False)


def make_items(examples: Sequence[Example], *, open_ended_share: float, seed: int) -> tuple[list[Item], Counter[str]]:
    """The items of rows, and how many rows met which fate.

    open_ended_share: of the choices that make sense without options, how many become open questions, in [0, 1].
    """
    counts: Counter[str] = Counter()
    skipped: list[Skipped] = []
    items = []
    for example in examples:
        if example.reference is None:
            counts["row has no reference"] += 1
            skipped.append(Skipped(id=example.id, reason="it has no reference answer."))
            continue
        question, reference = example.question, example.reference
        opened = open_up(question, reference)
        was_opened = opened is not None and random.Random(f"{seed} open {example.id}").random() < open_ended_share
        if opened is not None and was_opened:
            question, reference = opened
        form, options = find_form(question, reference)
        counts[f"item: {'choice made open' if was_opened else form}"] += 1
        items.append(
            Item(
                id=example.id,
                question=question,
                reference=reference,
                form=form,
                options=options,
                group=str(example.record.get("group") or ""),
                was_opened=was_opened,
                load_images=example.load_images,
            )
        )
    log_skipped(skipped)
    return items, counts
