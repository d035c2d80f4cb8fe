"""Measures the chain link by link on the `dev` split while a model trains: it shows what to train next.

For each comparison the judge's critique is generated (A first) and compared with the one written from ground truth:
are the claims quoted right, are the look-ups right, is the finding right, is the verdict right, and is it right given
a right finding. Not the benchmark: that is `vl-genrm pocket bench`, over both orders and through the judge.
"""

from typing import Any

import torch
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from genrm.prompts import FIRST, MARKER, SECOND, SYSTEM
from pocket.drawing import draw_scene
from pocket.rows import Row, make_rows
from pocket.scenes import Split


@torch.inference_mode()
def probe_chain(
    model: Qwen2VLForConditionalGeneration, processor: Qwen2VLProcessor, *, num_rows: int
) -> dict[str, float]:
    """Shares in [0, 1] of the first `num_rows` dev rows: claims, facts, finding, verdict right, and verdict given the
    finding.
    """
    model.eval()
    rows = list(make_rows(Split.DEV, num_rows))
    texts: list[str] = []
    for start in range(0, num_rows, 60):
        texts += _generate(model, processor, rows[start : start + 60])
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


def _generate(model: Qwen2VLForConditionalGeneration, processor: Qwen2VLProcessor, rows: list[Row]) -> list[str]:
    conversations: list[list[dict[str, Any]]] = [
        [
            {"role": "system", "content": SYSTEM},
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": draw_scene(row.scene)},
                    {
                        "type": "text",
                        "text": f"Question: {row.question}\n"
                        f"First response: {row.response_a}\nSecond response: {row.response_b}",
                    },
                ],
            },
        ]
        for row in rows
    ]
    tool: Any = processor  # transformers' annotations are narrower than what its processors and generate take
    generator: Any = model
    inputs = tool.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"},
    )
    out = generator.generate(**inputs, max_new_tokens=110, do_sample=False)
    return list(tool.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


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
