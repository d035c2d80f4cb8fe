"""What a batch's files hold, for the page: which failed and why, and preference rows made of the verdicts.

A row is kept under the rules that labelling uses by default: decided, both orders agree, a margin of at least 0.3, and
no conflict with the experts. Its pictures are the data URLs of the input.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

MIN_MARGIN = 0.3


def read_failures(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Name of each line that failed, and the service's message. lines: of a batch's file of errors."""
    failures = []
    for line in lines:
        try:
            given = json.loads(line)
            name = given["custom_id"]
            failures.append(
                ("a line without a custom_id" if name is None else str(name), str(given["error"]["message"]))
            )
        except (ValueError, KeyError, TypeError):
            continue  # cut off where reading stopped
    return failures


def write_preferences(input_file: Path, output_file: Path, target: Path) -> int:
    """Write the preference rows of a batch of judgements as JSONL, in the messages that TRL's trainers read.

    input_file, output_file: of the batch. Returns how many were kept.
    """
    verdicts = dict(_find_kept(output_file))
    num_kept = 0
    with target.open("w", encoding="utf-8") as file:
        for given in _read_objects(input_file):
            verdict = verdicts.get(str(given.get("custom_id")))
            body = given.get("body")
            if verdict is None or not isinstance(body, dict):
                continue
            file.write(json.dumps(_make_row(str(given["custom_id"]), body, verdict), ensure_ascii=False) + "\n")
            num_kept += 1
    return num_kept


def find_endpoint(input_file: Path) -> str:
    """What the lines of an input file ask for, by its first; judgements where it does not say."""
    first = next(_read_objects(input_file), {})
    return "/v1/rerank" if first.get("url") == "/v1/rerank" else "/v1/judge"


def _find_kept(output_file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for given in _read_objects(output_file):
        verdict = (given.get("response") or {}).get("body") or {}
        if (
            verdict.get("status") == "decided"
            and verdict.get("consistent") is True
            and abs(verdict.get("margin") or 0.0) >= MIN_MARGIN
            and not verdict.get("expert_conflict")
        ):
            yield str(given.get("custom_id")), verdict


def _make_row(name: str, body: dict[str, Any], verdict: dict[str, Any]) -> dict[str, Any]:
    pictures = body.get("images") or [body.get("image") or {}]
    a, b = str(body.get("response_a", "")), str(body.get("response_b", ""))
    chosen, rejected = (a, b) if verdict["preferred"] == "A" else (b, a)
    content = [{"type": "image", "text": None} for _ in pictures]
    content.append({"type": "text", "text": str(body.get("question", ""))})
    return {
        "images": [picture.get("url") for picture in pictures if isinstance(picture, dict)],
        "prompt": [{"role": "user", "content": content}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": chosen}]}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": rejected}]}],
        "id": name,
        "margin": abs(verdict["margin"]),
    }


def _read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a JSONL file that are objects; others are the batch's business."""
    with path.open("rb") as file:
        for line in file:
            try:
                given = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(given, dict):
                yield given
