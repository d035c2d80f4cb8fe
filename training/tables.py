"""Opening a source of rows, wherever it lies: the hub, Parquet, JSON lines, or a plug-in.

A source is written as one word on a command line:

    org/name, hub:org/name@split     a data set of the Hugging Face hub
    rows.parquet, folder/            Parquet, one file or all files of a folder
    folder/rows-1-*.parquet          the files of a folder whose names fit, in quotes on a command line
    rows.jsonl                       JSON lines; pictures are files beside it, or in a folder that is named
    pocket:held-out?n=500            whatever the entry point `pocket` of the group `vl_genrm.sources` opens

The entry point is a function of what follows the colon that returns a sequence of mappings. What the rows mean is the
business of `training.sources`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from genrm.errors import GenRMError

ENTRY_POINT_GROUP = "vl_genrm.sources"
PICTURES = ("image", "images")
"""Fields that hold pictures."""

Record = Mapping[str, Any]


_LOCAL_SUFFIXES = frozenset({".json", ".jsonl", ".parquet"})


class SourceError(GenRMError, ValueError):
    """A source cannot be opened, or holds no usable row. Correct its name as the message says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows that are read when they are asked for. texts: the same rows, perhaps without their pictures, which may be
    large. folder: what the paths of picture files are relative to.
    """

    rows: Sequence[Record]
    texts: Sequence[Record]
    folder: Path = Path()


def open_table(source: str) -> Table:
    """The rows of a source. Raises SourceError."""
    path, (kind, colon, argument) = Path(source), source.partition(":")
    if path.suffix in {".jsonl", ".json"} and path.is_file():
        records = _read_json_lines(path)
        return Table(rows=records, texts=records, folder=path.parent)
    if path.is_dir():
        return _open_parquet(sorted(path.rglob("*.parquet")), path, folder=path)
    if path.suffix == ".parquet" and (files := [path] if path.is_file() else sorted(path.parent.glob(path.name))):
        return _open_parquet(files, path, folder=path.parent)
    openers = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if colon and kind in openers:
        rows: Sequence[Record] = openers[kind].load()(argument)
        return Table(rows=rows, texts=rows)
    if (name := find_hub_name(source)) is not None:
        return _open_hub(name)
    plug_ins = "".join(f", {name}:…" for name in sorted(openers))
    raise SourceError(
        f"{source!r} is no source. Allowed are a .jsonl file, a .parquet file or folder that exists, a pattern "
        f"of names of .parquet files in a folder, and a data set of the hub (org/name or org/name@split){plug_ins}."
    )


def find_hub_name(source: str) -> str | None:
    """The name of a data set of the hub, perhaps with its split; None for a source that is local or cannot be one."""
    kind, colon, argument = source.partition(":")
    name = argument if colon and kind == "hub" else source
    is_name = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name)
    return name if is_name and not Path(source).exists() and Path(source).suffix not in _LOCAL_SUFFIXES else None


def number_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of JSON lines that are not blank, with their numbers from 1. Only line feeds end a line, perhaps after
    a carriage return: others of Unicode's line ends, which `str.splitlines` knows, may stand inside a JSON string.
    """
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _read_json_lines(path: Path) -> list[Record]:
    records: list[Record] = []
    for number, line in number_lines(path.read_text(encoding="utf-8")):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise SourceError(f"Line {number} of {path} is no JSON ({error.msg}). Correct or drop it.") from None
        if not isinstance(record, dict):
            raise SourceError(
                f"Line {number} of {path} is no JSON object. Write one object with named fields per line."
            )
        records.append(record)
    return records


def _open_parquet(found: Sequence[Path], source: Path, *, folder: Path) -> Table:
    from datasets import load_dataset
    from pyarrow.parquet import read_metadata

    if not found:
        raise SourceError(f"The folder {source} holds no .parquet file. Name another folder, or a .jsonl file.")
    files = [str(file) for file in found if read_metadata(file).num_rows]  # `datasets` cannot read one without rows
    if not files:
        raise SourceError(f"{source} holds no row: its {len(found)} files of Parquet are empty. Name another source.")
    return _as_table(load_dataset("parquet", data_files=files, split="train"), folder)


def _open_hub(name: str) -> Table:
    from datasets import get_dataset_split_names, load_dataset

    data_set, _, split = name.partition("@")
    try:
        splits = get_dataset_split_names(data_set)
        if split not in splits:
            if split or len(splits) != 1:
                raise SourceError(
                    f"The data set {data_set} has the splits {', '.join(splits)}"
                    f"{f', not {split}' if split else ''}. Name one: {data_set}@{splits[0]}."
                )
            split = splits[0]
        return _as_table(load_dataset(data_set, split=split))
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"The data set {data_set} cannot be had from the hub ({type(error).__name__}). Check its name and the "
            "connection, or name local files."
        ) from error


def _as_table(data_set: Any, folder: Path = Path()) -> Table:  # noqa: ANN401 - `datasets` is imported late
    """Pictures stay files until they are asked for, and are then decoded by our own rules."""
    from datasets import Image, List

    for name in PICTURES:
        feature = data_set.features.get(name)
        if isinstance(feature, Image):
            data_set = data_set.cast_column(name, Image(decode=False))
        elif isinstance(feature, List) and isinstance(feature.feature, Image):
            data_set = data_set.cast_column(name, List(Image(decode=False)))
    texts = data_set.select_columns([name for name in data_set.column_names if name not in PICTURES])
    return Table(rows=data_set, texts=texts, folder=folder)
