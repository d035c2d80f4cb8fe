"""Rows to train on and to measure with: questions about pictures, and labelled comparisons, out of any source.

Texts are looked for under the names that published data sets use, in this order:

    question     question, query, prompt          reference    reference, ground_truth, answer, chosen
    responses    response_a + response_b + label ("A" or "B"); response (two) + human_ranking (0 = better);
                 chosen + rejected

A text may also be a list of chat messages. `image` (or `images`, a list) is a decoded picture, a file's bytes or path,
`{"bytes", "path"}`, or a function that returns one of these; it is read only when the row is used. A row that lacks
something, or whose picture cannot be read, is skipped with its id and the reason, and never ends a run.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL.Image import Image

from genrm.errors import GenRMError, InvalidImageError
from genrm.media import ImageLimits, decode_image
from genrm.types import Comparison, Response
from training.tables import PICTURES, Record, SourceError, find_hub_name, open_table

SOURCE_ROW = "source_row"
"""Column of a pair that names the row it was made from: pairs of one row have the same image."""

_QUESTION = ("question", "query", "prompt")
_REFERENCE = ("reference", "ground_truth", "answer", "chosen")
_LIMITS = ImageLimits()

_log = logging.getLogger(__name__)


class RowError(GenRMError, ValueError):
    """One row cannot be used. Whoever reads rows skips it and says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A question about pictures, perhaps with a reference answer. record: everything the source says of it.

    load_images: decodes the pictures; raises RowError if one is missing or unreadable.
    """

    id: str
    question: str
    reference: str | None
    load_images: Callable[[], tuple[Image, ...]] = field(repr=False)
    record: Record = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A labelled comparison. label: the better response. group: as the source has it; empty if it has none."""

    id: str
    question: str
    response_a: str
    response_b: str
    label: Response
    group: str = ""
    load_images: Callable[[], tuple[Image, ...]] = field(repr=False)
    record: Record = field(default_factory=dict, repr=False)

    @property
    def better(self) -> str:
        """The response that the label prefers."""
        return self.response_a if self.label == "A" else self.response_b

    @property
    def worse(self) -> str:
        """The other response."""
        return self.response_b if self.label == "A" else self.response_a

    def load(self) -> Comparison:
        """What is judged, with decoded pictures. Raises RowError."""
        return Comparison(
            images=self.load_images(), question=self.question, response_a=self.response_a, response_b=self.response_b
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A row that was left out, and why."""

    id: str
    reason: str


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows(Generic[T]):
    """What could be read of a source, and what was skipped."""

    rows: list[T]
    skipped: list[Skipped]


def read_examples(source: str, *, images: Path | None = None, limit: int | None = None) -> Rows[Example]:
    """Questions of a source, in its order. images: folder of picture files. limit: read this many rows at most."""
    return _read(source, make_example, images=images, limit=limit)


def read_pairs(source: str, *, images: Path | None = None, limit: int | None = None) -> Rows[Pair]:
    """Labelled comparisons of a source, in its order; arguments as for `read_examples`."""
    return _read(source, _make_pair, images=images, limit=limit)


def count_examples(source: str, *, images: Path | None = None, limit: int | None = None) -> int:
    """How many questions `read_examples` finds, for a plan: read once in a process, however many of its steps ask. A
    data set of the hub is not fetched for that where there is a limit, which is then taken to be reached.
    """
    return _count(read_examples, source, images, limit)


def count_pairs(source: str, *, images: Path | None = None, limit: int | None = None) -> int:
    """The same for labelled comparisons."""
    return _count(read_pairs, source, images, limit)


@cache
def _count(read: Callable[..., Rows[Any]], source: str, images: Path | None, limit: int | None) -> int:
    if limit is not None and find_hub_name(source) is not None:
        return limit
    return len(read(source, images=images, limit=limit).rows)


def read_own_pairs(source: str, *, limit: int | None = None) -> list[Pair]:
    """Pairs that each have an id of their own, which jobs store results by. Raises SourceError."""
    pairs = read_pairs(source, limit=limit).rows
    repeated = [name for name, number in Counter(pair.id for pair in pairs).items() if number > 1]
    if repeated:
        raise SourceError(
            f"In {source} {len(repeated)} ids belong to several pairs, {repeated[0]!r} for one. Results are stored by "
            "id: give each pair its own."
        )
    return pairs


def log_skipped(skipped: Sequence[Skipped]) -> None:
    """Say in the log which rows were left out: each of the first ten, and how many in all."""
    for row in skipped[:10]:
        _log.warning("Row %s was skipped: %s", row.id, row.reason)
    if len(skipped) > 10:
        _log.warning("%d rows were skipped in all.", len(skipped))


def _read(
    source: str,
    make: Callable[[str, Record, Callable[[], tuple[Image, ...]]], T],
    *,
    images: Path | None,
    limit: int | None,
) -> Rows[T]:
    table = open_table(source)
    folder = table.folder if images is None else images
    rows: list[T] = []
    skipped: list[Skipped] = []
    for index in range(len(table.rows))[:limit]:
        record = table.texts[index]
        name = str(record.get("id", f"row-{index}"))
        try:
            rows.append(make(name, record, partial(open_images, table.rows, index, folder)))
        except RowError as error:
            skipped.append(Skipped(id=name, reason=str(error)))
    log_skipped(skipped)
    if not rows:
        why = f"; the first one because: {skipped[0].reason}" if skipped else ""
        raise SourceError(f"{source} has no usable row: {len(skipped)} were skipped{why}")
    return Rows(rows=rows, skipped=skipped)


def make_example(name: str, record: Record, load_images: Callable[[], tuple[Image, ...]]) -> Example:
    """The question of a record. Raises RowError if it has none."""
    question = find_text(record, _QUESTION)
    if question is None:
        raise RowError(f"it has no question; one of the fields {', '.join(_QUESTION)} is needed.")
    return Example(
        id=name, question=question, reference=find_text(record, _REFERENCE), load_images=load_images, record=record
    )


def _make_pair(name: str, record: Record, load_images: Callable[[], tuple[Image, ...]]) -> Pair:
    example = make_example(name, record, load_images)
    a, b, label = _find_responses(record)
    return Pair(
        id=name,
        question=example.question,
        response_a=a,
        response_b=b,
        label=label,
        group=str(record.get("group") or ""),
        load_images=load_images,
        record=record,
    )


def _find_responses(record: Record) -> tuple[str, str, Response]:
    """Responses A and B, and which is better."""
    if "response_a" in record and "response_b" in record:
        label = record.get("label")
        if label not in ("A", "B"):
            raise RowError(f"its label is {label!r}; it must be 'A' or 'B'.")
        return str(record["response_a"]), str(record["response_b"]), "A" if label == "A" else "B"
    if "response" in record:
        responses, ranking = find_list(record["response"]), find_list(record.get("human_ranking"))
        if len(responses) != 2 or sorted(ranking, key=str) != [0, 1]:
            raise RowError(
                f"it has {len(responses)} responses and the ranking {ranking}; needed are two responses and a "
                "human_ranking of [0, 1] or [1, 0], 0 for the better one."
            )
        return str(responses[0]), str(responses[1]), "A" if ranking[0] == 0 else "B"
    chosen, rejected = find_text(record, ("chosen",)), find_text(record, ("rejected",))
    if chosen is None or rejected is None:
        raise RowError("it has no labelled responses; needed are response_a, response_b and label, or response and "
                       "human_ranking, or chosen and rejected.")  # fmt: skip
    return chosen, rejected, "A"


def find_list(value: object) -> list[Any]:
    """A list, also where it is written as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def find_text(record: Record, names: Sequence[str]) -> str | None:
    """The first text that a record has under one of the names, also as the last message of a conversation."""
    for name in names:
        text = _text_of(record.get(name))
        if text:
            return text
    return None


def _text_of(value: object) -> str:
    """The words of a text, or of the last message of a conversation; the first line `<image>` is no word."""
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        content = value[-1].get("content") if isinstance(value[-1], Mapping) else None
        if isinstance(content, Sequence) and not isinstance(content, str):
            content = "".join(part.get("text") or "" for part in content)
        value = content
    return value.removeprefix("<image>\n").strip() if isinstance(value, str) else ""


def open_images(records: Sequence[Record], index: int, folder: Path) -> tuple[Image, ...]:
    """The decoded pictures of one row. folder: what paths are relative to. Raises RowError."""
    record = records[index]
    value = next((record[name] for name in PICTURES if record.get(name) is not None), None)
    values = (list(value) if isinstance(value, list | tuple) else [value]) or [None]
    return tuple(_load_image(value, folder) for value in values)


def _load_image(value: Any, folder: Path) -> Image:  # noqa: ANN401 - whatever a source holds
    if callable(value):
        value = value()
    if isinstance(value, Image):
        return value.convert("RGB")
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if value is None or value == "":
        raise RowError("it has no image; the field image or images must hold one.")
    try:
        data = value if isinstance(value, bytes) else (folder / str(value)).read_bytes()
        return decode_image(data, limits=_LIMITS)
    except OSError as error:
        raise RowError(
            f"its image {str(value)!r} cannot be read ({error.strerror}). Name the folder of the images."
        ) from None
    except InvalidImageError as error:
        raise RowError(f"its image is refused: {error}") from None
