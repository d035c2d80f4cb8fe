"""What a policy is asked, from rows of any source: questions with references, POPE's questions, and captions.

    qa         rows with a question and a reference; `group`, `kind` and `open_ended` are taken from the row if there
    pope       rows as POPE publishes them (`text` or `question`, `label` or `answer` of yes or no, perhaps `category`),
               or questions made of the rows' `objects`, each sampling of absent ones in turn
    captions   one question for every row with an image; `objects` says what is there

`objects` is a list of names, or of mappings with a `name`. `open_ended` is true where many answers are right (a
caption, a list), so that comparing words with one reference would be wrong. Nothing is asked here.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from PIL.Image import Image

from experts.lexicon import default_lexicon
from training.policy.pope import SAMPLINGS, ObjectCounts, YesNo, ask_for, choose_absent
from training.sources import RowError, Skipped, find_list, find_text, make_example, open_images
from training.tables import PICTURES, Record, SourceError, open_table

Task = Literal["qa", "pope", "captions"]
UNNAMED = "all"
"""Sampling of POPE rows that do not name theirs."""

_QUESTION, _LABEL = ("text", "question"), ("label", "answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One thing to ask. image: the picture's name, its identity within `source`; another source may have the same
    name for another picture. objects: names of what is there, repeated as often as it is; None where the row does not
    say. label, sampling: of POPE.
    """

    id: str
    source: str
    image: str
    text: str
    group: str = ""
    kind: str = ""
    reference: str | None = None
    is_open_ended: bool = False
    label: YesNo | None = None
    sampling: str = UNNAMED
    objects: tuple[str, ...] | None = None
    load_images: Callable[[], tuple[Image, ...]] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a source, whatever it is used for. source, image: see `Question`."""

    id: str
    source: str
    image: str
    record: Record = field(repr=False)
    load_images: Callable[[], tuple[Image, ...]] = field(repr=False)

    @property
    def objects(self) -> tuple[str, ...] | None:
        """Names of the objects in the image; None if the row does not say."""
        if self.record.get("objects") is None:
            return None
        listed = find_list(self.record["objects"])
        return tuple(str(each["name"] if isinstance(each, Mapping) else each) for each in listed)

    @property
    def label(self) -> YesNo | None:
        """POPE's label; None if this is no row of POPE's."""
        told = (find_text(self.record, _LABEL) or "").strip().lower()
        is_pope = "label" in self.record or "category" in self.record
        return ("yes" if told == "yes" else "no") if is_pope and told in ("yes", "no") else None


def read_rows(source: str, *, images: Path | None = None, limit: int | None = None) -> list[Row]:
    """The rows of a source, in its order. images: folder of picture files. limit: this many at most."""
    table = open_table(source)
    folder = table.folder if images is None else images
    rows: list[Row] = []
    seen: set[str] = set()
    for index in range(len(table.rows))[:limit]:
        record = table.texts[index]
        name = str(record.get("id", record.get("question_id", f"row-{index}")))
        named = [record.get("image_id"), *(record.get(field) for field in PICTURES)]
        image = next((str(value) for value in named if isinstance(value, str | int)), None)
        if image is None:  # pictures without a name: a row's id names its own, and a repeated id only one of them
            image = f"{name}-{index}" if name in seen else name
            seen.add(name)
        load_images = partial(open_images, table.rows, index, folder)
        rows.append(Row(id=name, source=source, image=image, record=record, load_images=load_images))
    if not rows:
        raise SourceError(f"{source} has no row. Name another source.")
    return rows


def ask_references(rows: Sequence[Row]) -> tuple[list[Question], list[Skipped]]:
    """The questions of rows that have a reference answer, and why others were left out."""
    asked: list[Question] = []
    skipped: list[Skipped] = []
    for row in rows:
        try:
            example = make_example(row.id, row.record, row.load_images)
            if example.reference is None:
                raise RowError("it has no reference answer.")
        except RowError as error:
            skipped.append(Skipped(id=row.id, reason=str(error)))
            continue
        asked.append(
            Question(
                id=row.id,
                source=row.source,
                image=row.image,
                text=example.question,
                group=str(row.record.get("group") or ""),
                kind=str(row.record.get("kind") or ""),
                reference=example.reference,
                is_open_ended=bool(row.record.get("open_ended")),
                objects=row.objects,
                load_images=row.load_images,
            )
        )
    return asked, skipped


def ask_published_pope(rows: Sequence[Row]) -> list[Question]:
    """POPE's rows as they are; others are left out."""
    return [
        Question(
            id=row.id, source=row.source, image=row.image, text=text, label=row.label,
            load_images=row.load_images, sampling=str(row.record.get("category") or UNNAMED),
        )
        for row in rows
        if row.label is not None and (text := find_text(row.record, _QUESTION)) is not None
    ]  # fmt: skip


def ask_pope_of_objects(
    rows: Sequence[Row], *, num_images: int, pairs_per_image: int, seed: int = 0, counts: ObjectCounts | None = None
) -> list[Question]:
    """POPE's questions for the first images whose rows name their objects.

    pairs_per_image: objects asked for that are there, and as many that are not, per sampling; fewer where an image has
    fewer kinds. counts: None counts in all rows. The same question of several samplings is asked once for each, with
    one answer.
    """
    known = {row.image: (row, tuple(sorted(set(map(_name, row.objects))))) for row in rows if row.objects}
    counts = counts or ObjectCounts.count(names for _, names in known.values())
    return [
        question
        for row, names in list(known.values())[:num_images]
        for question in _ask_of_image(row, names, counts, pairs_per_image, seed)
    ]


def _name(given: str) -> str:
    """The lexicon's name of an object: what one row calls a sofa and another a couch is one kind."""
    return default_lexicon().canonical_name(given) or given


def _ask_of_image(
    row: Row, names: Sequence[str], counts: ObjectCounts, num_pairs: int, seed: int
) -> Iterator[Question]:
    rng = random.Random(f"{seed} {row.image}")
    there = rng.sample(names, min(num_pairs, len(names)))
    for sampling in SAMPLINGS:
        absent = choose_absent(sampling, names, counts, rng, num=len(there))
        for label, objects in (("yes", there[: len(absent)]), ("no", absent)):
            for name in objects:
                yield Question(
                    id=f"{row.id}-{sampling}-{label}-{name}",
                    source=row.source,
                    image=row.image,
                    text=ask_for(name),
                    label="yes" if label == "yes" else "no",
                    sampling=sampling,
                    load_images=row.load_images,
                )


def ask_captions(rows: Sequence[Row], text: str, *, num: int) -> list[Question]:
    """The same question for each of the first different images. text: the question."""
    first = {row.image: row for row in reversed(rows)}
    images = list(dict.fromkeys(row.image for row in rows))[:num]
    return [
        Question(
            id=f"{first[image].id}-caption",
            source=first[image].source,
            image=image,
            text=text,
            objects=first[image].objects,
            load_images=first[image].load_images,
        )
        for image in images
    ]
