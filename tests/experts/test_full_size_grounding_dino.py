"""Grounding DINO at its published size, on this machine's CPU: does it run, and how long does it take?

The sizes are those of `IDEA-Research/grounding-dino-base`, the weights random, so that nothing is downloaded. To see
the figures: `pytest -s tests/experts/test_full_size_grounding_dino.py`.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    SwinConfig,
)

from experts.contract import Inquiry
from experts.grounding_dino import GroundingDino, GroundingOptions
from pocket.expert_architecture import build_expert_processor

PHRASES = ("person", "dog", "hot dog", "traffic light")


def build_full_size() -> GroundingDinoForObjectDetection:
    """Swin-B at 384 pixels, BERT base, 6 + 6 layers of width 256, 900 queries: 232 million parameters."""
    backbone = SwinConfig(
        image_size=384, embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], window_size=12,
        out_indices=[2, 3, 4],  # type: ignore[call-arg] # annotated as private
    )  # fmt: skip
    torch.manual_seed(0)
    config = GroundingDinoConfig(backbone_config=backbone, text_config=BertConfig())
    return GroundingDinoForObjectDetection(config)


@pytest.mark.slow
def test_a_photograph_goes_through_a_full_size_model(record_property: Callable[[str, object], None]) -> None:
    """Every box is kept, so that all 900 queries are checked. The tokenizer has BERT's special tokens where the model
    expects them, and few words.
    """
    model = build_full_size()
    processor = GroundingDinoProcessor(
        image_processor=GroundingDinoImageProcessor(), tokenizer=build_expert_processor().tokenizer
    )
    keep_all = GroundingOptions(box_threshold=0.0, text_threshold=0.0, nms_iou=1.0)
    expert = GroundingDino(model, processor, model_id="full-size", options=keep_all)
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    started, cpu_started = time.perf_counter(), time.process_time()
    (found,) = expert.detect([Inquiry(image=Image.fromarray(pixels), phrases=PHRASES)])
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    record_property("seconds", round(seconds, 1))
    record_property("cpu_seconds", round(cpu_seconds, 1))
    print(f"640 x 480 pixels, {sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters, ", end="")
    print(f"{torch.get_num_threads()} threads: {seconds:.1f} s ({cpu_seconds:.1f} s of CPU)")
    assert {detection.phrase for detection in found} == set(PHRASES)
    for detection in found:
        x1, y1, x2, y2 = detection.box
        assert all(map(math.isfinite, (*detection.box, detection.score)))
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 480
