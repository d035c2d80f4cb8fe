"""What the in-process engine needs of a model and of its processor, as types.

transformers' own classes answer `Any` or far too much for most attributes; these protocols name the few that are used,
and so say what another architecture would have to offer.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase


class ImageFeatures(Protocol):
    """What the vision tower answers."""

    pooler_output: Sequence[Tensor]
    """Per image (image tokens, embedding width)."""


class VisionLanguageBody(Protocol):
    """The part below the vocabulary head: vision tower, language model, and their common positions."""

    language_model: nn.Module
    """Takes `inputs_embeds`, a 4-D additive `attention_mask`, `position_ids` (3, R, S) and `past_key_values`."""

    def get_image_features(self, pixel_values: Tensor, image_grid_thw: Tensor) -> ImageFeatures:
        """Encode the patches of several images. image_grid_thw: (images, 3), in patches."""

    def get_rope_index(
        self, input_ids: Tensor, *, mm_token_type_ids: Tensor, image_grid_thw: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Rotary positions (3, R, S), and what is to be added for text that follows."""


class VisionLanguageModel(Protocol):
    """A `…ForConditionalGeneration` of the Qwen2-VL family."""

    config: Any
    generation_config: Any
    model: VisionLanguageBody
    lm_head: nn.Module

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""

    def get_submodule(self, target: str) -> nn.Module:
        """The layer at a path, e.g. `model.language_model.layers.0.mlp.up_proj`."""


class ImageProcessor(Protocol):
    """Turns pictures into patches."""

    def __call__(self, *, images: list[Image], return_tensors: str) -> dict[str, Tensor]:
        """`pixel_values` (patches, values of a patch) and `image_grid_thw` (images, 3), in patches."""


class Processor(Protocol):
    """Chat template, tokenizer and image processor of a model."""

    tokenizer: PreTrainedTokenizerBase
    image_processor: ImageProcessor
    chat_template: str | dict[str, str] | None

    def apply_chat_template(
        self, conversation: list[dict[str, Any]], *, add_generation_prompt: bool, tokenize: bool
    ) -> str:
        """The rendered conversation."""
