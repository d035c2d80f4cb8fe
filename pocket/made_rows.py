"""A sequence of rows that are made anew whenever they are asked for, by their number."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, overload


class MadeRows(Sequence[dict[str, Any]]):
    """Rows 0 to `num_rows` − 1; what each holds is a subclass's business."""

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows

    @abstractmethod
    def make(self, index: int) -> dict[str, Any]:
        """One row; the same each time."""

    def __len__(self) -> int:
        return self._num_rows

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        numbers = range(self._num_rows)[index]
        return [self.make(number) for number in numbers] if isinstance(numbers, range) else self.make(numbers)
