"""What becomes of rows that an engine refuses: the rows beside them in a call are asked without them.

An engine refuses a whole call for one prompt that it cannot take, and would refuse it again in every resumed run.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from typing import TypeVar

from genrm.engines.contract import Sampling
from genrm.errors import InvalidComparisonError

R = TypeVar("R")
T = TypeVar("T")

_OPTIONS = frozenset(field.name for field in fields(Sampling))


async def ask_in_parts(
    rows: Sequence[R], ask: Callable[[Sequence[R]], Awaitable[T]]
) -> tuple[list[T], list[tuple[R, str]]]:
    """What `ask` gives for the rows, in their order, and the rows that the engine refuses, with the reason.

    One call for all rows; where it is refused, one for each half, and so on down to the row. The same rows are cut the
    same way, so what is drawn for a repeated block does not change. Raises whatever else `ask` raises, and
    InvalidComparisonError for an option of sampling, which is no row's fault.
    """
    try:
        return [await ask(rows)], []
    except InvalidComparisonError as error:
        if error.param in _OPTIONS or not rows:
            raise
        if len(rows) == 1:
            return [], [(rows[0], str(error))]
    half = len(rows) // 2
    answers, refused = await ask_in_parts(rows[:half], ask)
    more_answers, more_refused = await ask_in_parts(rows[half:], ask)
    return answers + more_answers, refused + more_refused
