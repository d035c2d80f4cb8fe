"""Labelled comparisons as the data set that TRL's trainers take: decoded and put into words when a row is taken.

Any source of comparisons will do (`training.sources`), so that what `label`, `vapr`, `ipa` and `preferences` write and
what others publish are read alike. Rows that cannot be learned from are left out before a training begins: a picture
that does not decode would end it hours later.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from training.sources import Pair, RowError, Rows, Skipped, log_skipped


def drop_unusable(pairs: Sequence[Pair]) -> Rows[Pair]:
    """The pairs whose pictures decode and whose answers differ, and why the others were left out. Logs them."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        reasons = list(pool.map(_find_fault, pairs))
    skipped = [Skipped(id=pair.id, reason=reason) for pair, reason in zip(pairs, reasons, strict=True) if reason]
    log_skipped(skipped)
    return Rows(rows=[pair for pair, reason in zip(pairs, reasons, strict=True) if not reason], skipped=skipped)


def make_data_set(pairs: Sequence[Pair]) -> Any:  # noqa: ANN401 - `datasets` is imported late
    """A `datasets.Dataset` with the columns images (decoded), prompt, chosen and rejected (chat messages)."""
    from datasets import Dataset

    return Dataset.from_dict({"row": range(len(pairs))}).with_format("custom", transform=_Reader(pairs))


class _Reader:
    """Makes rows of the data set from their numbers."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        pairs = [self._pairs[number] for number in batch["row"]]
        images = [list(pair.load_images()) for pair in pairs]
        return {
            "images": images,
            "prompt": [_ask(pair, len(own)) for pair, own in zip(pairs, images, strict=True)],
            "chosen": [_say(pair.better) for pair in pairs],
            "rejected": [_say(pair.worse) for pair in pairs],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """`datasets` names a data set by a hash of its transform; that of a million pairs would take minutes."""
        return _Reader, (self._pairs[:1],)


def _find_fault(pair: Pair) -> str | None:
    if pair.better.strip() == pair.worse.strip():
        return "chosen and rejected say the same."
    try:
        pair.load_images()
    except RowError as error:
        return str(error)
    return None


def _ask(pair: Pair, num_images: int) -> list[dict[str, Any]]:
    content = [{"type": "image"}] * num_images + [{"type": "text", "text": pair.question}]
    return [{"role": "user", "content": content}]


def _say(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
