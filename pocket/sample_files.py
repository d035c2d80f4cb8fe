"""Exported comparisons as the input of a batch; and where those lie that ship, which need no emoji font."""

from pathlib import Path

from genrm.shipped import samples_folder
from service.samples import read_samples, write_batch_line

SAMPLES = samples_folder()
"""PNG files and `rows.jsonl`, as `vl-genrm pocket export --split held-out --n 12 --seed 1` writes them."""


def write_batch(folder: Path) -> Path:
    """Write the comparisons of a folder with `rows.jsonl` as `batch.jsonl`, an input file for `POST /v1/batches`."""
    path = folder / "batch.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(write_batch_line, read_samples(folder)))
    return path
