"""Preference rows as TRL's trainers read them: pictures, a prompt, a chosen and a rejected answer.

Every job that makes preferences for a policy writes these (`label`, `vapr`, `ipa`) and `train dpo` reads them. Columns
beside the four (where a row comes from, how sure it is) are dropped by the trainer; each job has its own.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from training.jobs.files import replacing

COLUMNS = ("images", "prompt", "chosen", "rejected")
"""What TRL reads."""

Row = dict[str, Any]


def make_preference_row(
    *, images: Sequence[Mapping[str, Any]], question: str, chosen: str, rejected: str, **provenance: object
) -> Row:
    """One row in TRL's vision preference format. images: as `encode_images` makes them. provenance: more columns."""
    content = [{"type": "image", "text": None} for _ in images] + [{"type": "text", "text": question}]
    return {
        "images": list(images),
        "prompt": [{"role": "user", "content": content}],
        "chosen": _say(chosen),
        "rejected": _say(rejected),
        **provenance,
    }


def encode_images(images: Sequence[Image]) -> list[dict[str, Any]]:
    """Pictures as PNG files in the form that `datasets` stores."""
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    return encoded


def write_preference_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], *, texts: Sequence[str], numbers: Sequence[str] = ()
) -> None:
    """Write one Parquet file of preference rows in one step; also an empty one, which says that its block is done.

    texts, numbers: the columns beside `COLUMNS`, which every row must have.
    """
    from datasets import Features, List, Value
    from datasets import Image as ImageFeature

    message = {"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})}
    features = Features(
        {
            "images": List(ImageFeature()),
            **{name: List(message) for name in ("prompt", "chosen", "rejected")},
            **{name: Value("float64") for name in numbers},
            **{name: Value("string") for name in texts},
        }
    )
    write_rows(path, rows, features)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], features: Any) -> None:  # noqa: ANN401 - imported late
    """Write one Parquet file in one step. features: of `datasets`, by column."""
    from datasets import Dataset

    data_set = Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)
    with replacing(path) as new:
        data_set.to_parquet(str(new))


def _say(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
