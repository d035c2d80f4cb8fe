"""Writes a model folder shaped like Qwen2.5-VL-7B-Instruct with random weights, to measure speed and memory where the
real weights cannot be downloaded: 8.3 billion parameters, 16.6 GB in bfloat16.

Sizes are those of the published config.json (Qwen/Qwen2.5-VL-7B-Instruct); tokenizer and chat template are the pocket
base's. What such a model writes is noise: tokens that have no text and those that end an answer have zero rows in the
output layer, so that every answer is as long as it may be and can be decoded.

Run: `python bench/random_large_model.py FOLDER`, then `python bench/engine.py --model FOLDER --device cuda --side 896`.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from genrm.shipped import base_folder

MIN_PIXELS, MAX_PIXELS = 3_136, 12_845_056
"""Between these the processor leaves a picture's size alone, as Qwen2.5-VL's does."""


def make_config(token_ids: dict[str, int]) -> Qwen2_5_VLConfig:
    """The sizes of Qwen2.5-VL-7B-Instruct. token_ids: of the special tokens, by their names without bars."""
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 152_064,
            "hidden_size": 3_584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 128_000,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": None,
            "eos_token_id": token_ids["im_end"],
            "pad_token_id": token_ids["endoftext"],
            "tie_word_embeddings": False,
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1_280,
            "intermediate_size": 3_420,
            "num_heads": 16,
            "out_hidden_size": 3_584,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        image_token_id=token_ids["image_pad"],
        video_token_id=token_ids["video_pad"],
        vision_start_token_id=token_ids["vision_start"],
        vision_end_token_id=token_ids["vision_end"],
        tie_word_embeddings=False,
    )


def write_model(folder: Path, *, device: str) -> int:
    """Build the model on the device, save it, and return its number of parameters."""
    shutil.copytree(base_folder(), folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json", "README.md"))
    _widen_pictures(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    names = ("im_end", "endoftext", "image_pad", "video_pad", "vision_start", "vision_end")
    token_ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names}
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model: Any = Qwen2_5_VLForConditionalGeneration(make_config(token_ids))
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        model.lm_head.weight[len(tokenizer) :] = 0
        model.lm_head.weight[list(token_ids.values())] = 0
    model.generation_config.eos_token_id = token_ids["im_end"]
    model.generation_config.pad_token_id = token_ids["endoftext"]
    model.save_pretrained(folder)
    return int(sum(weight.numel() for weight in model.parameters()))


def _widen_pictures(folder: Path) -> None:
    from transformers import AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder)
    processor.image_processor.size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    processor.save_pretrained(folder)


def main() -> None:
    """Write the folder and say how large the model is."""
    parser = argparse.ArgumentParser(description="A model of the size of Qwen2.5-VL-7B with random weights.")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--device", default="cuda", help="where the weights are drawn; the CPU takes minutes")
    arguments = parser.parse_args()
    print(f"{arguments.folder}: {write_model(arguments.folder, device=arguments.device) / 1e9:.2f} billion parameters")


if __name__ == "__main__":
    main()
