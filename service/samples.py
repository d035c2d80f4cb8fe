"""Comparisons in files, as `vl-genrm pocket export` writes them: to show, to judge, and as the input of a batch."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from genrm.shipped import samples_folder
from genrm.types import Response

ROWS = "rows.jsonl"
SHOWN_FIRST = "pocket-held-out-1-2"
"""A plain one with boxes."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A comparison. better: the response that is better."""

    id: str
    image: Path
    question: str
    response_a: str
    response_b: str
    better: Response


def read_samples(folder: Path) -> tuple[Sample, ...]:
    """All comparisons of a folder, in the order of its `rows.jsonl` (VL-RewardBench's field names)."""
    rows = [json.loads(line) for line in (folder / ROWS).read_text("utf-8").splitlines()]
    return tuple(
        Sample(
            id=row["id"],
            image=folder / row["image"],
            question=row["query"],
            response_a=row["response"][0],
            response_b=row["response"][1],
            better="A" if row["human_ranking"][0] == 0 else "B",
        )
        for row in rows
    )


def load_shipped_samples() -> tuple[Sample, ...]:
    """Those that ship, the one to show first in front."""
    return tuple(sorted(read_samples(samples_folder()), key=lambda sample: sample.id != SHOWN_FIRST))


def write_body(sample: Sample) -> dict[str, object]:
    """A sample as the JSON body of a judgement."""
    picture = base64.b64encode(sample.image.read_bytes()).decode()
    return {
        "image": {"url": f"data:image/png;base64,{picture}"},
        "question": sample.question,
        "response_a": sample.response_a,
        "response_b": sample.response_b,
    }


def write_batch_line(sample: Sample) -> str:
    """A sample as a line of a batch's input file."""
    request = {"custom_id": sample.id, "method": "POST", "url": "/v1/judge", "body": write_body(sample)}
    return json.dumps(request) + "\n"
