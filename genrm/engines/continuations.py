"""How probable a model finds given texts as its own answer to a prompt, token by token: for reading, not for writing.

The prompt is computed once for all texts behind it, and texts of many prompts are read together. Unlike the engine this
has no thread, no queue and no cache between calls: whoever holds it brings those.

Source: scoring a text by its likelihood under a model that sees the image, as VisualGPTScore (arXiv:2306.01879) does
with captions. Ours: the uncertainty of the model at each token comes with its surprise, so that the free choice of a
subject can be told from a word that the image contradicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genrm.engines.contract import Prompt
from genrm.engines.forward import Forward, Segment, find_positions
from genrm.engines.loading import LoadedModel
from genrm.engines.preparation import read_images, tokenize_prompt
from genrm.errors import InputTooLongError

_MAX_PASS_TOKENS = {"cpu": 1_024, "cuda": 16_384}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadText:
    """What a model makes of a text of S tokens, each after those before it; (S,) float32 on the CPU, nats.

    logprobs: of the text's own tokens. entropies: of what the model expected there.
    """

    logprobs: Tensor
    entropies: Tensor


class ContinuationReader:
    """Reads texts with one loaded model. To be used from one thread. loaded: of `genrm.engines.loading`."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model, self._processor = loaded.model, loaded.processor
        max_tokens = _MAX_PASS_TOKENS.get(loaded.placement.device.type, _MAX_PASS_TOKENS["cuda"])
        self._forward = Forward(loaded.model, max_tokens=max_tokens)
        self._max_text_tokens = max_tokens
        self._max_context: int = loaded.model.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def read(self, asked: Sequence[tuple[Prompt, Sequence[str]]]) -> list[list[ReadText]]:
        """Per prompt, what the model makes of each text behind it; the end of the turn is no part of a text.

        Raises ValueError for a text without tokens; InputTooLongError if one or its prompt does not fit the model's
        context, or is longer than a pass (1,024 tokens on a CPU); and as `genrm.engines.preparation.read_images` and
        `tokenize_prompt` do.
        """
        wholes = self._prepare([prompt for prompt, _ in asked])
        beginnings = self._forward.extend(
            [self._forward.cut(whole, 0, len(whole.ids) - 1, past=None) for whole in wholes]
        )
        segments, targets = list[Segment](), list[list[int]]()
        for whole, beginning, (_, texts) in zip(wholes, beginnings, asked, strict=True):
            for text in texts:
                ids = self._tokenize(text, num_before=len(whole.ids))
                first = int(whole.positions.max())
                positions = (first + torch.arange(len(ids))).expand(3, -1)
                # The last token of the prompt is read again with each text: it predicts the text's first one.
                segments.append(Segment(ids=[whole.ids[-1], *ids[:-1]], positions=positions, past=beginning.run))
                targets.append(ids)
        described: dict[int, ReadText] = {}
        for number, logits in self._forward.read(segments):
            described[number] = _describe(logits, targets[number])
        read = iter([described[number] for number in range(len(segments))])
        return [[next(read) for _ in texts] for _, texts in asked]

    def _prepare(self, prompts: Sequence[Prompt]) -> list[Segment]:
        """Every prompt as one segment, its images encoded."""
        pictures = [read_images(self._processor, prompt.images) for prompt in prompts]
        lots = [(pixels, grids) for pixels, grids in pictures if pixels is not None and grids is not None]
        encoded = iter(self._forward.encode_images([pixels for pixels, _ in lots], [grids for _, grids in lots]))
        wholes = []
        for prompt, (_, grids) in zip(prompts, pictures, strict=True):
            ids = tokenize_prompt(self._processor, self._model, prompt, grids=grids)
            if len(ids) >= self._max_context:  # before anything is computed: attention takes memory by its square
                raise InputTooLongError(
                    f"A prompt of {len(ids):,} tokens, image tokens included, leaves no room for a text in the model's "
                    f"context of {self._max_context:,}. Shorten it or the image."
                )
            wholes.append(
                Segment(
                    ids=ids,
                    positions=find_positions(self._model, ids, grids),
                    image_features=None if grids is None else next(encoded),
                )
            )
        return wholes

    def _tokenize(self, text: str, *, num_before: int) -> list[int]:
        ids: list[int] = self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ValueError("A text to be read must have a token.")
        if len(ids) > self._max_text_tokens or num_before + len(ids) > self._max_context:
            raise InputTooLongError(
                f"A text of {len(ids):,} tokens behind a prompt of {num_before:,} cannot be read; a text may have "
                f"{self._max_text_tokens:,} tokens, both together {self._max_context:,}. Shorten it or the image."
            )
        return ids


def _describe(logits_SV: Tensor, targets: Sequence[int]) -> ReadText:
    logprobs_SV = logits_SV.log_softmax(-1)
    own = logprobs_SV[torch.arange(len(targets)), torch.tensor(targets, device=logprobs_SV.device)]
    weighed_SV = torch.where(logprobs_SV > -torch.inf, logprobs_SV.exp() * logprobs_SV, 0.0)
    return ReadText(logprobs=own.cpu(), entropies=-weighed_SV.sum(-1).cpu())
