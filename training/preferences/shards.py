"""Shards of preference data: blocks of source rows that are worked on together, and one file each.

A killed job goes on with the first block whose file is not finished. Rows need ids of their own, since pairs are named
after them.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count

from genrm.errors import GenRMError
from training.sources import Example

DATA = "data"
"""Folder of the files, inside that of the run."""


class NoPairsError(GenRMError, ValueError):
    """No candidate passed. The message counts what became of each; mend the source, the images or the filters."""


def name_shard(start: int) -> str:
    """The name of the shard, and of its step, whose first row has this number."""
    return f"rows-{start:08}"


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
