"""The pocket tokenizer: byte-level BPE learned from the pocket texts, with Qwen2-VL's special tokens and chat
template.

Byte-level, so any text in any script can be written, if not economically. The processor is transformers' own
Qwen2VLProcessor; pictures of any size are scaled to about the 36 image tokens that the models were trained on.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

from genrm.prompts import EVIDENCE_LEAD, SYSTEM
from pocket.architecture import MERGE, PATCH_PIXELS
from pocket.scenes import SIZE_PIXELS, Split, sample_scene
from pocket.tasks import BASE_MIX, draw_task
from pocket.vocabulary import KINDS, SIGN_TEXTS

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
VOCABULARY_SIZE = 1024

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_processor(*, num_scenes: int = 4000) -> Qwen2VLProcessor:
    """Learn the tokenizer from the tasks of `num_scenes` training scenes, and put it into a processor."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(num_scenes), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    pixels = SIZE_PIXELS * SIZE_PIXELS
    sizes: dict[str, Any] = {"patch_size": PATCH_PIXELS, "merge_size": MERGE, "temporal_patch_size": 2}
    edges = {"shortest_edge": pixels * 2 // 3, "longest_edge": pixels}
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=edges, **sizes),
        tokenizer=fast,
        video_processor=Qwen2VLVideoProcessor(size=edges, **sizes),
        chat_template=CHAT_TEMPLATE,
    )


def _corpus(num_scenes: int) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for index in range(num_scenes):
        task = draw_task(sample_scene(Split.TRAIN, index), rng, BASE_MIX)
        yield f"{task.user}\n{task.answer}"
    words = [f" {word}" for kind in KINDS for word in (kind.name, kind.plural)] + [f" {text}" for text in SIGN_TEXTS]
    for _ in range(60):  # so that every name of the world is a token of its own
        yield from words
        yield SYSTEM
        yield EVIDENCE_LEAD
        yield "system\nuser\nassistant\n"
