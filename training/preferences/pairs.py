"""What jobs that make preference data share: where pairs lie, what they are named after, and that none was made."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count

from genrm.errors import GenRMError
from training.sources import Example

DATA = "data"
"""Folder of the files, inside that of the run."""


class NoPairsError(GenRMError, ValueError):
    """No candidate passed. The message counts what became of each; mend the source, the images or the filters."""


def with_own_ids(examples: Sequence[Example]) -> list[Example]:
    """The rows, each with an id of its own, which pairs are named after: a repeated one gets the row's number, or the
    next that makes it another.
    """
    seen: set[str] = set()
    own = []
    for number, example in enumerate(examples):
        names = (f"{example.id}-{suffix}" for suffix in count(number))
        name = next(name for name in chain((example.id,), names) if name not in seen)
        own.append(replace(example, id=name) if name != example.id else example)
        seen.add(name)
    return own
