"""Unlabelled rows: a question about pictures and two or more answers that a judge shall compare.

Answers are looked for under these names, in this order:

    response_a + response_b        candidates, responses, completions, response (a list)        chosen + rejected

Labels that a row may have are not looked at. Rows are read a block at a time, however many there are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path

from PIL.Image import Image

from training.sources import Example, RowError, Rows, Skipped, find_list, find_text, make_example, open_images
from training.tables import Record, open_table

_LISTS = ("candidates", "responses", "completions", "response")
MAX_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Answers to one question, in the order of the source; equal ones once."""

    id: str
    question: str
    answers: tuple[str, ...]
    load_images: Callable[[], tuple[Image, ...]] = field(repr=False)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All pairs of answers, by their places."""
        return list(combinations(range(len(self.answers)), 2))


class CandidateTable:
    """The rows of a source. images: folder of picture files. limit: the first so many. Raises SourceError."""

    def __init__(self, source: str, *, images: Path | None = None, limit: int | None = None) -> None:
        self._table = open_table(source)
        self._folder = self._table.folder if images is None else images
        self.num_rows = len(range(len(self._table.rows))[:limit])

    def read(self, start: int, stop: int) -> Rows[Candidates]:
        """The rows from `start` to before `stop`; ids that repeat within the block get the row's number."""
        rows: list[Candidates] = []
        skipped: list[Skipped] = []
        seen: set[str] = set()
        for index in range(start, min(stop, self.num_rows)):
            record = self._table.texts[index]
            name = str(record.get("id", f"row-{index}"))
            name = f"{name}-{index}" if name in seen else name
            seen.add(name)
            try:
                example = make_example(name, record, partial(open_images, self._table.rows, index, self._folder))
                rows.append(_make_candidates(example, record))
            except RowError as error:
                skipped.append(Skipped(id=name, reason=str(error)))
        return Rows(rows=rows, skipped=skipped)

    def blocks(self, size: int) -> Iterator[tuple[int, int]]:
        """Where blocks of `size` rows begin and end."""
        for start in range(0, self.num_rows, size):
            yield start, min(start + size, self.num_rows)


def _make_candidates(example: Example, record: Record) -> Candidates:
    answers = [answer.strip() for answer in _find_answers(record)]
    different = tuple(dict.fromkeys(answer for answer in answers if answer))
    if len(different) < 2:
        raise RowError(
            f"it has {len(different)} different answers; two or more are needed, as response_a and response_b, as a "
            f"list named {', '.join(_LISTS)}, or as chosen and rejected."
        )
    if len(different) > MAX_CANDIDATES:
        raise RowError(f"it has {len(different)} answers; {MAX_CANDIDATES} are allowed.")
    return Candidates(id=example.id, question=example.question, answers=different, load_images=example.load_images)


def _find_answers(record: Record) -> Sequence[str]:
    if "response_a" in record and "response_b" in record:
        return str(record["response_a"]), str(record["response_b"])
    for name in _LISTS:
        found = find_list(record.get(name))
        if found:
            return [str(answer) for answer in found]
    return [text for name in ("chosen", "rejected") if (text := find_text(record, (name,)))]
