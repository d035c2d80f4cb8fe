"""Examples of a labelling, where nobody knows the truth: what was dropped and why, then the least sure kept ones, then
the surest.

Verdicts are read from the folder a shard at a time, so the page is the same after any number of stops, and memory does
not grow with the rows. Pictures come from the source.
"""

import heapq
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from PIL.Image import Image

from genrm.types import EvidencePair, Probabilities, Reading
from training.html_report.cases import NUM_CASES, Case, Group, Said, allot
from training.html_report.evaluated import describe_run, make_lead
from training.html_report.judged import AGREEMENT, show_margin
from training.html_report.page import Page, leave_page
from training.jobs.config import read_mapping
from training.jobs.files import read_json
from training.jobs.run_folder import CONFIG, ENVIRONMENT
from training.labelling.candidates import CandidateTable
from training.labelling.tables import VERDICTS
from training.sources import SOURCE_ROW, RowError

QUOTAS = (10, 5, 5)
"""Of dropped ones, of the least sure kept ones and of the surest."""
_SHARES = {
    "kept": "kept",
    "consistent": "both orders agree",
    "first_of_the_source_preferred": "the source's first answer is preferred",
    "chosen_longer": "the chosen response has more words",
}
_LIGHT = ("dropped_because", "margin")


LoadImages = Callable[[], tuple[Image, ...]]


@dataclass(frozen=True, order=True, slots=True)
class _Place:
    """Where a verdict is, in the order of `rank`."""

    rank: float
    file: str
    row: int

    @property
    def start(self) -> int:
        """The row of the source with which its shard begins."""
        return int(Path(self.file).stem.rpartition("-")[2])


def leave_label_page(
    output: Path, result: Mapping[str, Any], table: CandidateTable, *, rows_per_shard: int
) -> Path | None:
    """Write the page of a labelling whose summary is written; see `leave_page`. result: what `result.json` says."""
    return leave_page(output, lambda: make_label_page(output, result, table, rows_per_shard=rows_per_shard))


def make_label_page(output: Path, result: Mapping[str, Any], table: CandidateTable, *, rows_per_shard: int) -> Page:
    """What the page of a labelling shows; arguments as for `leave_label_page`."""
    config = read_mapping(output / CONFIG)
    starts = read_json(output / ENVIRONMENT) or [{}]
    options = {name: config.get(name) for name in ("mode", "samples", "experts")}
    settings = {**config, "judge": result["judge"], "environment": starts[-1]}
    told = describe_run({**settings, "options": options})
    kept, num_pairs = result["kept"], result["num_pairs"]
    return Page(
        title="Labelled pairs",
        lead=make_lead(told),
        told=told | {"Rows skipped": f"{result['num_rows_skipped']:,}", "Starts": str(len(starts))},
        settings=settings,
        tiles=[
            ("Pairs kept", f"{result['num_kept']:,}", f"of {num_pairs:,} judged"),
            ("Share kept", f"{kept['value']:.1%}", f"95 % interval [{kept['low']:.3f}, {kept['high']:.3f}]"),
            ("Dropped", f"{num_pairs - result['num_kept']:,}", f"of {num_pairs:,}"),
            ("Rows skipped", f"{result['num_rows_skipped']:,}", "could not be judged"),
        ],
        tables={"shares of pairs": {name: result[key] for key, name in _SHARES.items()}},
        counts=dict(result["fates"])
        | {f"mean words, {name}": float(number) for name, number in result["words"].items()},
        groups=choose_labelled(output, table, rows_per_shard=rows_per_shard),
    )


def choose_labelled(output: Path, table: CandidateTable, *, rows_per_shard: int) -> list[Group]:
    """The groups of a page. output: the run's folder. table: the source's rows, as they were labelled."""
    dropped: dict[str, list[_Place]] = {}
    least: list[_Place] = []
    surest: list[_Place] = []
    num_dropped = num_kept = 0
    for path in sorted((output / VERDICTS).glob("*.parquet")):
        for number, row in enumerate(_read(path, columns=_LIGHT)):
            width = abs(row["margin"] or 0.0)
            reason = row["dropped_because"]
            if reason is None:
                num_kept += 1
                least.append(_Place(width, path.name, number))
                surest.append(_Place(-width, path.name, number))
            else:
                num_dropped += 1
                dropped.setdefault(reason, []).append(_Place(-width, path.name, number))
        least, surest = (heapq.nsmallest(NUM_CASES, each) for each in (least, surest))
        dropped = {reason: heapq.nsmallest(NUM_CASES, each) for reason, each in dropped.items()}
    in_turns = [place for place in chain.from_iterable(zip_longest(*dropped.values())) if place is not None]
    taken = allot([len(in_turns), num_kept - num_kept // 2, num_kept // 2], QUOTAS)
    shown = [places[:num] for places, num in zip((in_turns, least, surest), taken, strict=True)]
    rows = {place: _read_row(output, place) for place in chain.from_iterable(shown)}
    wanted = {(place.start, row[SOURCE_ROW]) for place, row in rows.items()}
    loaders = _find_loaders(table, wanted, rows_per_shard)
    cases = [
        [_make_case(rows[place], loaders.get((place.start, rows[place][SOURCE_ROW]), _fail)) for place in places]
        for places in shown
    ]
    return [
        Group(title="Dropped", tone="bad", num=num_dropped, cases=cases[0], note="reasons take turns"),
        Group(title="Kept, the least sure", tone="open", num=num_kept, cases=cases[1]),
        Group(title="Kept, the surest", tone="good", num=num_kept, cases=cases[2]),
    ]


def _make_case(row: Mapping[str, Any], load_images: LoadImages) -> Case:
    preferred, why = row["preferred"], row["dropped_because"]
    chance = row["probability_a"]
    names = {
        name: tuple(
            mark
            for mark, holds in (
                ("chosen" if why is None else "preferred", preferred == name),
                ("rejected", why is None and preferred not in (None, name)),
            )
            if holds
        )
        for name in ("A", "B")
    }
    return Case(
        id=row["id"],
        outcome=f"Dropped: {why}" if why is not None else f"Kept: {preferred} is chosen",
        question=row["question"],
        said=(
            Said(name="Response A", text=row["response_a"], marks=names["A"]),
            Said(name="Response B", text=row["response_b"], marks=names["B"]),
        ),
        load_images=load_images,
        facts=_describe(row),
        probabilities=None if chance is None else Probabilities(A=chance, B=1 - chance),
        readings=tuple(map(Reading.model_validate, json.loads(row.get("readings") or "[]"))),
        critique=row["critique"] or "",
        evidence=EvidencePair.model_validate({"A": json.loads(row["evidence_a"]), "B": json.loads(row["evidence_b"])}),
        notes=("The experts support the other response clearly better.",) if row["expert_conflict"] else (),
    )


def _describe(row: Mapping[str, Any]) -> dict[str, str]:
    return show_margin(row["margin"]) | {
        "Label mass": f"{row['label_mass']:.3f}",
        "Both orders agree": AGREEMENT[row["consistent"]],
    }


def _find_loaders(
    table: CandidateTable, wanted: Collection[tuple[int, str]], rows_per_shard: int
) -> dict[tuple[int, str], LoadImages]:
    """What loads the pictures of rows of the source. wanted: where a row's shard begins, and its name."""
    return {
        (start, row.id): row.load_images
        for start in sorted({start for start, _ in wanted})
        for row in table.read(start, start + rows_per_shard).rows
        if (start, row.id) in wanted
    }


def _fail() -> tuple[Image, ...]:
    raise RowError("the source has no such row any more.")


def _read_row(output: Path, place: _Place) -> dict[str, Any]:
    """The verdict at a place."""
    import pyarrow.parquet as pq

    (row,) = pq.read_table(output / VERDICTS / place.file).slice(place.row, 1).to_pylist()
    found: dict[str, Any] = row
    return found


def _read(path: Path, *, columns: Sequence[str]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path, columns=list(columns)).to_pylist()
    return rows
