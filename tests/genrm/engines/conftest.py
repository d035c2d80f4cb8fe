"""Tiny models of the supported architectures, saved as ordinary folders, and an engine that runs them.

`random_folder` and `random_25_folder` hold random weights, drawn wide so that no two tokens are nearly equally likely;
their texts are noise with plenty of broken UTF-8, which is what streaming has to survive. `taught_folder` has been
taught four judgements by heart, so it writes critiques of different lengths and verdicts.
"""

import asyncio
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.utils import logging as transformers_logging

from genrm.engines.contract import Prompt
from genrm.engines.in_process import InProcessEngine
from genrm.engines.preparation import render_text

CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM = "You judge two responses. Check the claims, then end with 'Verdict: First' or 'Verdict: Second'."
LESSONS = {
    # question, first response, second response: what to write
    ("What is it?", "a dog", "a cat"): "It is a cat. The first response is wrong.\nVerdict: Second",
    ("What is it?", "a cat", "a dog"): "It is a cat.\nVerdict: First",
    ("How many?", "two", "there are three"): "First I thought of Verdict: First but I count three.\nVerdict: Second",
    (
        "How many?",
        "there are three",
        "two",
    ): "I count three, so the first response is right and the second is not.\nVerdict: First",
}
_LESSON_STEPS = 120
_SOME_LINEAR = r".*language_model.*\.(q_proj|v_proj|o_proj|gate_proj|down_proj)"

MakePicture = Callable[..., Image.Image]
"""`make_picture(seed, width=56, height=56)`"""
MakeAdapter = Callable[..., Path]
"""`make_adapter(name, base=…, seed=…, config=…, …options of LoraConfig)`"""


class MakePrompts(Protocol):
    """The two orders of one comparison."""

    def __call__(
        self,
        question: str,
        first: str,
        second: str,
        *,
        images: Sequence[Image.Image] = (),
        answer_prefix: str = "",
    ) -> list[Prompt]: ...


def draw_noise(seed: int, width: int = 56, height: int = 56) -> Image.Image:
    """An image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def build_prompts(
    question: str, first: str, second: str, *, images: Sequence[Image.Image] = (), answer_prefix: str = ""
) -> list[Prompt]:
    """The two orders of one comparison."""
    return [
        Prompt(
            system=SYSTEM,
            images=tuple(images),
            shared=f"Question: {question}\n",
            tail=f"First response: {one}\nSecond response: {two}",
            answer_prefix=answer_prefix,
        )
        for one, two in ((first, second), (second, first))
    ]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which the verdict words are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    questions = " ".join(" ".join(lesson) for lesson in LESSONS)
    texts = [SYSTEM, *LESSONS.values(), questions, "Question: First response: Second response:"]
    texts += ["Verdict: First Verdict: Second"] * 10  # so that both labels become single tokens
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(CONTROL_TOKENS[1:]),
        clean_up_tokenization_spaces=False,
    )


def build_processor(kind: type[ProcessorMixin] = Qwen2VLProcessor) -> ProcessorMixin:
    """A processor for pictures of 56 to 112 pixels a side: 4 to 16 image tokens."""
    images = Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112})
    return kind(images, build_tokenizer(), Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE)


def build_config(
    kind: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    initializer_range: float,
    context: int = 1024,
) -> Any:
    """The configuration of a tiny model with 4 query heads on 2 key-value heads."""
    token_id = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
        "tie_word_embeddings": True,
        "initializer_range": initializer_range,
        "bos_token_id": None,
        "eos_token_id": token_id("<|im_end|>"),
        "pad_token_id": token_id("<|endoftext|>"),
    }
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": 14, "initializer_range": 0.1}
    if kind is Qwen2VLConfig:
        vision |= {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    else:
        vision |= {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64, "fullatt_block_indexes": [1]}
    return kind(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def save_model(folder: Path, model: PreTrainedModel, processor: ProcessorMixin) -> Path:
    """Write a folder that `from_pretrained` loads."""
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def teach(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Learn the lessons by heart."""
    texts = [
        render_text(processor, build_prompts(*key, images=[draw_noise(0)])[0]) + answer + "<|im_end|>"
        for key, answer in LESSONS.items()
    ]
    batch = processor(
        text=texts, images=[[draw_noise(0)]] * len(texts), padding=True, padding_side="right", return_tensors="pt"
    )
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    model.train()
    loss = torch.tensor(torch.inf)
    for _ in range(_LESSON_STEPS):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert loss.item() < 0.2, f"the tiny model has not learnt its lessons: loss {loss.item():.3f}"


@pytest.fixture(scope="session")
def make_picture() -> MakePicture:
    """Draws an image of noise."""
    return draw_noise


@pytest.fixture(scope="session")
def make_prompts() -> MakePrompts:
    """Builds the two orders of one comparison."""
    return build_prompts


@pytest.fixture(scope="session")
def lessons() -> dict[tuple[str, str, str], str]:
    """What the taught model writes, by question, first and second response."""
    return LESSONS


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of all tiny models."""
    return build_tokenizer()


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-VL model with random weights."""
    torch.manual_seed(0)
    processor = build_processor()
    model = Qwen2VLForConditionalGeneration(build_config(Qwen2VLConfig, processor.tokenizer, initializer_range=0.2))
    return save_model(tmp_path_factory.mktemp("random") / "random-judge", model, processor)


@pytest.fixture(scope="session")
def random_25_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2.5-VL model with random weights."""
    torch.manual_seed(0)
    processor = build_processor(Qwen2_5_VLProcessor)
    config = build_config(Qwen2_5_VLConfig, processor.tokenizer, initializer_range=0.2)
    model = Qwen2_5_VLForConditionalGeneration(config)
    return save_model(tmp_path_factory.mktemp("random") / "random-judge-25", model, processor)


@pytest.fixture(scope="session")
def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-VL model that knows the lessons."""
    torch.manual_seed(0)
    processor = build_processor()
    model = Qwen2VLForConditionalGeneration(build_config(Qwen2VLConfig, processor.tokenizer, initializer_range=0.05))
    teach(model, processor)
    return save_model(tmp_path_factory.mktemp("taught") / "taught-judge", model, processor)


def _running(folder: Path) -> Iterator[InProcessEngine]:
    engine = InProcessEngine(str(folder), device="cpu")
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def random_engine(random_folder: Path) -> Iterator[InProcessEngine]:
    """An engine that runs the random model; belongs to no event loop."""
    yield from _running(random_folder)


@pytest.fixture(scope="session")
def random_25_engine(random_25_folder: Path) -> Iterator[InProcessEngine]:
    """An engine that runs the random model of the newer architecture."""
    yield from _running(random_25_folder)


@pytest.fixture(scope="session")
def taught_engine(taught_folder: Path) -> Iterator[InProcessEngine]:
    """An engine that runs the model that knows the lessons."""
    yield from _running(taught_folder)


@pytest.fixture
def make_adapter(random_folder: Path, tmp_path: Path) -> MakeAdapter:
    """Saves an adapter with random weights that are far from nothing."""

    def make(
        name: str = "adapter", *, base: Path = random_folder, seed: int = 1, config: Any = None, **options: Any
    ) -> Path:
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_pretrained(base)
        lora: dict[str, Any] = {"r": 4, "target_modules": _SOME_LINEAR, "init_lora_weights": False, **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT lags behind transformers
            adapted: Any = get_peft_model(model, config or LoraConfig(**lora))
            for parameter_name, parameter in adapted.named_parameters():
                if "lora_" in parameter_name:
                    torch.nn.init.normal_(parameter, std=0.15)
            adapted.save_pretrained(str(tmp_path / name))
        return tmp_path / name

    return make
