"""Sizes of the pocket models: Qwen2-VL in transformers' own classes, a few million parameters.

Not decided here: how it is trained (`pocket.vision_stage`, `pocket.language_stage`) and its tokenizer
(`pocket.tokenizer`). A 168-pixel picture is 12 x 12 patches of 14 pixels, merged 2 x 2 to 36 image tokens of 28
pixels: one per cell of the scene grid.
"""

from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig

HIDDEN_SIZE = 192
VISION_WIDTH = 128
PATCH_PIXELS = 14
MERGE = 2
EMBEDDING_RMS = 0.06  # per component; logits of a tied head then start near unit scale


def vision_config() -> Qwen2VLVisionConfig:
    """The vision tower: 4 blocks of width 128, 1.3 M parameters with the merger."""
    return Qwen2VLVisionConfig(
        depth=4,
        embed_dim=VISION_WIDTH,
        hidden_size=HIDDEN_SIZE,
        num_heads=4,
        mlp_ratio=4,
        patch_size=PATCH_PIXELS,
        spatial_merge_size=MERGE,
        temporal_patch_size=2,
        in_channels=3,
    )


def build_model(*, vocab_size: int, token_ids: dict[str, int]) -> Qwen2VLForConditionalGeneration:
    """An untrained model. token_ids: ids of the special tokens (`pocket.tokenizer.SPECIAL_TOKENS`)."""
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": HIDDEN_SIZE,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [6, 5, 5]},
            "bos_token_id": None,
            "eos_token_id": token_ids["<|im_end|>"],
            "pad_token_id": token_ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config=vision_config().to_dict(),
        image_token_id=token_ids["<|image_pad|>"],
        video_token_id=token_ids["<|video_pad|>"],
        vision_start_token_id=token_ids["<|vision_start|>"],
        vision_end_token_id=token_ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token_ids["<|im_end|>"]
    model.generation_config.pad_token_id = token_ids["<|endoftext|>"]
    return model
