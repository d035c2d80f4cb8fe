"""Sizes of the pocket expert: Grounding DINO in transformers' own classes, two million parameters, and its processor.

A 168-pixel picture becomes 24 x 24 patches of 7 pixels; the second and third stage of the Swin backbone give features
at strides 14 and 28, so that the coarser level has one position per cell of the scene grid.

Grounding DINO's code has ids of BERT's vocabulary wired in ([CLS] 101, [SEP] 102, "." 1012, "?" 1029): the small
WordPiece vocabulary here puts these tokens where they are expected and the words of the pocket world in between.
"""

from itertools import count

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    PreTrainedTokenizerFast,
    SwinConfig,
)

from pocket.pictures import IMAGE_MEAN, IMAGE_STD
from pocket.scenes import SIZE_PIXELS
from pocket.vocabulary import KINDS

STRIDES = (14, 28)
MODEL_WIDTH = 96
NUM_QUERIES = 20
MAX_TEXT_TOKENS = 128
_WIRED_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
_VOCABULARY_SIZE = 1030


def expert_config() -> GroundingDinoConfig:
    """Swin of width 48 (2 blocks in each of 3 stages), 2 encoder and 2 decoder layers of width 96, 2-layer BERT."""
    backbone = SwinConfig(
        image_size=SIZE_PIXELS,
        patch_size=7,
        embed_dim=48,
        depths=[2, 2, 2],
        num_heads=[3, 6, 12],
        window_size=6,
        drop_path_rate=0.0,
        out_features=["stage2", "stage3"],  # type: ignore[call-arg] # its annotations name the private field
    )
    text = BertConfig(
        vocab_size=_VOCABULARY_SIZE,
        hidden_size=MODEL_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * MODEL_WIDTH,
        max_position_embeddings=MAX_TEXT_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=MODEL_WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=384,
        decoder_ffn_dim=384,
        num_queries=NUM_QUERIES,
        num_feature_levels=len(STRIDES),
        max_text_len=MAX_TEXT_TOKENS,
        dropout=0.0,
        fusion_droppath=0.0,
        auxiliary_loss=True,
    )


def build_expert() -> GroundingDinoForObjectDetection:
    """An untrained pocket expert. Text features start small, so that similarities of boxes and words start near zero
    and not at ten times what a sigmoid tells apart.
    """
    model = GroundingDinoForObjectDetection(expert_config())
    with torch.no_grad():
        model.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after.weight.fill_(0.1)
    return model


def build_expert_processor() -> GroundingDinoProcessor:
    """The processor: pictures are scaled to fit 168 pixels, phrases are lower-cased and cut into words of the world.

    Words that the world does not have are spelled letter by letter, so every phrase can be asked for; only names of the
    world are known.
    """
    tokenizer = Tokenizer(models.WordPiece(_vocabulary(), unk_token="[UNK]", max_input_chars_per_word=64))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_TEXT_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    images = GroundingDinoImageProcessor(
        size={"shortest_edge": SIZE_PIXELS, "longest_edge": SIZE_PIXELS}, image_mean=IMAGE_MEAN, image_std=IMAGE_STD
    )
    return GroundingDinoProcessor(image_processor=images, tokenizer=fast)


def _vocabulary() -> dict[str, int]:
    words = dict.fromkeys(word for kind in KINDS for word in f"{kind.name} {kind.plural}".lower().split())
    letters = [*map(chr, range(ord("a"), ord("z") + 1)), *"0123456789-'"]
    names = list(words) + [f"{prefix}{letter}" for letter in letters for prefix in ("", "##") if letter not in words]
    taken = set(_WIRED_IDS.values())
    free = (number for number in count(1) if number not in taken)
    vocabulary = _WIRED_IDS | dict(zip(names, free, strict=False))
    unused = (number for number in range(_VOCABULARY_SIZE) if number not in set(vocabulary.values()))
    return vocabulary | {f"[unused{number}]": number for number in list(unused)}
