"""Measures a model on the `dev` split while it trains: it shows what to train next.

`probe_answers` asks the questions and compares with the references. `probe_chain` measures judging link by link: for
each comparison the judge's critique is generated (A first) and compared with the one written from ground truth:
are the claims quoted right, are the look-ups right, is the finding right, is the verdict right, and is it right given
a right finding. Not the benchmark: that is `vl-genrm pocket bench`, over both orders and through the judge.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from genrm.prompts import FIRST, MARKER, SECOND, SYSTEM
from pocket.drawing import draw_scene
from pocket.questions import OPEN_ENDED
from pocket.rows import make_rows
from pocket.scenes import Scene, Split
from pocket.tasks import draw_task
from training.policy.answers import says_the_same


class Probe(Protocol):
    """Measures a model on dev rows: shares in [0, 1] by name."""

    def __call__(
        self, model: Qwen2VLForConditionalGeneration, processor: Qwen2VLProcessor, *, num_rows: int
    ) -> dict[str, float]:
        """The first `num_rows` rows are used."""
        ...


@torch.inference_mode()
def probe_answers(
    model: Qwen2VLForConditionalGeneration, processor: Qwen2VLProcessor, *, num_rows: int
) -> dict[str, float]:
    """Shares by group of those of the first `num_rows` dev rows with one right answer that are answered so; and
    `verify`, of how many responses it says rightly whether they agree with a reference.
    """
    model.eval()
    rows = [row for row in make_rows(Split.DEV, num_rows) if row.kind not in OPEN_ENDED]
    right: dict[str, list[bool]] = {}
    for row, text in zip(
        rows, _generate(model, processor, [(row.scene, row.question) for row in rows], max_new_tokens=32), strict=True
    ):
        right.setdefault(str(row.group), []).append(says_the_same(text, row.ground_truth, row.question))
    mix = {"verify": 0.5, "verify-short": 0.5}
    tasks = [(row.scene, draw_task(row.scene, np.random.default_rng(i), mix)) for i, row in enumerate(rows)]
    found = _generate(model, processor, [(scene, task.user) for scene, task in tasks], max_new_tokens=40)
    right["verify"] = [
        text.split()[-1:] == task.answer.split()[-1:] for text, (_, task) in zip(found, tasks, strict=True)
    ]
    return {name: sum(good) / len(good) for name, good in right.items()}


@torch.inference_mode()
def probe_chain(
    model: Qwen2VLForConditionalGeneration, processor: Qwen2VLProcessor, *, num_rows: int
) -> dict[str, float]:
    """Shares in [0, 1] of the first `num_rows` dev rows: claims, facts, finding, verdict right, and verdict given the
    finding.
    """
    model.eval()
    rows = list(make_rows(Split.DEV, num_rows))
    asked = [
        (row.scene, f"Question: {row.question}\nFirst response: {row.response_a}\nSecond response: {row.response_b}")
        for row in rows
    ]
    texts = _generate(model, processor, asked, system=SYSTEM, max_new_tokens=110)
    right = {"claims": 0, "facts": 0, "finding": 0, "verdict": 0}
    given = [0, 0]
    groups: dict[str, list[int]] = {}
    for row, text in zip(rows, texts, strict=True):
        said, true = _links(text), _links(row.critique)
        for name in right:
            right[name] += said[name] == true[name]
        good = said["verdict"] == true["verdict"]
        groups.setdefault(str(row.group), []).append(good)
        if said["finding"] == true["finding"]:
            given[0] += good
            given[1] += 1
    result = {name: count / num_rows for name, count in right.items()}
    result["verdict given finding"] = given[0] / max(given[1], 1)
    return result | {group: sum(good) / len(good) for group, good in groups.items()}


def _generate(
    model: Qwen2VLForConditionalGeneration,
    processor: Qwen2VLProcessor,
    asked: Sequence[tuple[Scene, str]],
    *,
    system: str = "",
    max_new_tokens: int,
) -> list[str]:
    """What the model says, greedily, to each text about its scene."""
    tool: Any = processor  # transformers' annotations are narrower than what its processors and generate take
    generator: Any = model
    texts: list[str] = []
    for start in range(0, len(asked), 60):
        conversations = [
            [
                *([{"role": "system", "content": system}] if system else []),
                {
                    "role": "user",
                    "content": [{"type": "image", "image": draw_scene(scene)}, {"type": "text", "text": text}],
                },
            ]
            for scene, text in asked[start : start + 60]
        ]
        inputs = tool.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        )
        out = generator.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        texts += tool.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def _links(text: str) -> dict[str, str]:
    claims, _, rest = text.partition(" Seen ")
    facts, _, rest = rest.partition(" So ")
    finding, _, verdict = rest.partition(f"\n{MARKER}")
    label = verdict.strip()
    return {
        "claims": claims,
        "facts": facts,
        "finding": finding,
        "verdict": label if label in (FIRST, SECOND) else "none",
    }
