"""The pocket world as a source of rows for `training` (entry point `pocket` of the group `vl_genrm.sources`).

`pocket:SPLIT?n=ROWS&seed=SEED` has the rows of a split: id, image, question and reference, and the comparison under
VL-RewardBench's field names. With `&candidates=K` each row has instead one question for a description and K answers of
known quality, the share of their statements that are true, for Best-of-N. With `&pope=SAMPLING` the rows are POPE's
(`pocket.pope`). Pictures are drawn when they are looked at.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from genrm.errors import GenRMError
from pocket.descriptions import describe_with_errors
from pocket.drawing import draw_scene
from pocket.made_rows import MadeRows
from pocket.pope import SAMPLING_WORDS, PopeRows
from pocket.rows import Row, make_row, vl_rewardbench_fields
from pocket.scenes import Split, sample_scene
from training.sources import Pair

_DEFAULTS = {"n": 1000, "seed": 0, "candidates": 0}


class PocketSourceError(GenRMError, ValueError):
    """What follows `pocket:` cannot be read. Correct it as the message says."""


class PocketRows(MadeRows):
    """Rows of a split, made anew whenever they are asked for. candidates: answers per row; 0 for comparisons."""

    def __init__(self, split: Split, num_rows: int, *, seed: int = 0, num_candidates: int = 0) -> None:
        super().__init__(num_rows)
        self._split, self._seed, self._num_candidates = split, seed, num_candidates

    def make(self, index: int) -> dict[str, Any]:
        """One row."""
        if self._num_candidates:
            return self._make_candidates(index)
        return _to_record(make_row(self._split, index, seed=self._seed))

    def _make_candidates(self, index: int) -> dict[str, Any]:
        scene = sample_scene(self._split, index + self._seed * 1_000_000)
        rng = np.random.default_rng([index, self._seed, scene.look_seed, self._num_candidates])
        described = [describe_with_errors(scene, rng) for _ in range(self._num_candidates)]
        return {
            "id": f"pocket-{self._split}-{self._seed}-{index}-candidates",
            "image": partial(draw_scene, scene),
            "question": "Describe the image in detail.",
            "candidates": [{"text": text, "quality": quality} for text, quality in described],
        }


def open_split(argument: str) -> Sequence[dict[str, Any]]:
    """The rows that `SPLIT?n=ROWS&seed=SEED&candidates=K&pope=SAMPLING` stands for. Raises PocketSourceError."""
    name, _, query = argument.partition("?")
    try:
        words = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        sampling = words.pop("pope", None)
        options = _DEFAULTS | {key: int(value) for key, value in words.items()}
        if options.keys() != _DEFAULTS.keys() or min(options.values()) < 0:
            raise ValueError
        if sampling is not None:
            if sampling not in SAMPLING_WORDS or options["candidates"]:
                raise ValueError
            return PopeRows(Split(name), options["n"], sampling=sampling, seed=options["seed"])
        return PocketRows(Split(name), options["n"], seed=options["seed"], num_candidates=options["candidates"])
    except ValueError:
        raise PocketSourceError(
            f"'pocket:{argument}' is no part of the pocket world. Write pocket:SPLIT?n=ROWS&seed=SEED&candidates=K, "
            f"with SPLIT one of {', '.join(Split)} and whole numbers from 0 on, or pocket:SPLIT?n=ROWS&seed=SEED&"
            f"pope=SAMPLING, with {', '.join(SAMPLING_WORDS)} for SAMPLING; what follows the split may be left out."
        ) from None


def to_pair(row: Row) -> Pair:
    """The row as a labelled comparison."""
    return Pair(
        id=row.id,
        question=row.question,
        response_a=row.response_a,
        response_b=row.response_b,
        label=row.label,
        group=str(row.group),
        load_images=lambda: (draw_scene(row.scene),),
        record=_to_record(row),
    )


def _to_record(row: Row) -> dict[str, Any]:
    return vl_rewardbench_fields(row, "") | {
        "image": partial(draw_scene, row.scene),
        "question": row.question,
        "reference": row.ground_truth,
    }
