"""The comparisons that ship with the playground: pictures, questions, two responses each, and which one is better.

They are the pocket world's first twelve held-out comparisons, copied here because the service does not import that
package; a test compares the two.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from genrm.types import Response

FOLDER = Path(__file__).parent / "samples"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A comparison. better: the response that is better; None where nobody knows."""

    id: str
    image: Path
    question: str
    response_a: str
    response_b: str
    better: Response | None


def load_samples() -> tuple[Sample, ...]:
    """All of them, a plain one with boxes to show first."""
    rows = [json.loads(line) for line in (FOLDER / "rows.jsonl").read_text("utf-8").splitlines()]
    samples = [Sample(**{**row, "image": FOLDER / row["image"]}) for row in rows]
    return tuple(sorted(samples, key=lambda sample: sample.id != "pocket-held-out-1-2"))


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
