"""Where a few comparisons of the held-out split lie as files, for first steps, tests and benchmarks without the emoji
font; and exported comparisons as the input of a batch.
"""

import base64
import json
from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"
"""PNG files and `rows.jsonl`, as `vl-genrm pocket export --split held-out --n 12 --seed 1` writes them."""


def write_batch(folder: Path) -> Path:
    """Write the comparisons of a folder with `rows.jsonl` as `batch.jsonl`, an input file for `POST /v1/batches`."""
    path = folder / "batch.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for line in (folder / "rows.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            picture = base64.b64encode((folder / row["image"]).read_bytes()).decode()
            body = {
                "image": {"url": f"data:image/png;base64,{picture}"},
                "question": row["query"],
                "response_a": row["response"][0],
                "response_b": row["response"][1],
            }
            request = {"custom_id": row["id"], "method": "POST", "url": "/v1/judge", "body": body}
            file.write(json.dumps(request) + "\n")
    return path
