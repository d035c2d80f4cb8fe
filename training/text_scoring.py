"""How probable a model finds a text behind a prompt, token by token: for judging what was written, not for writing.

Needs the model in this process; servers seldom tell the probabilities of a text that they did not write.
"""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch.nn.functional import cross_entropy

from genrm.engines.contract import Prompt
from genrm.engines.loading import choose_placement, load_model
from genrm.errors import InvalidComparisonError
from training.engines import EngineChoice
from training.packing import use_packed_attention
from training.samples import Collator
from training.sources import RowError


class TextScorer:
    """Scores texts with one model. Raises ModelLoadError if it cannot be loaded.

    batch_size: texts computed together. max_tokens: longest prompt with its text; longer ones get no score.
    """

    def __init__(self, choice: EngineChoice, *, batch_size: int = 16, max_tokens: int = 8192) -> None:
        placement = choose_placement(device="auto", dtype="auto", attention="sdpa")
        loaded = load_model(choice.model_name, adapter=choice.adapter, placement=placement)
        self._model: Any = loaded.model
        use_packed_attention(self._model)
        self._device, self._batch_size = placement.device, batch_size
        self._collator = Collator(loaded.processor, loaded.model, max_tokens=max_tokens)

    @torch.inference_mode()
    def score(self, texts: Sequence[tuple[Prompt, str]]) -> "list[torch.Tensor | str]":
        """Natural-log probability of each token of each text behind its prompt, the end of the turn included, float32
        on the CPU; the reason for a text that the model cannot read. Neighbours about one image are cheaper than
        others.
        """
        return [
            score
            for start in range(0, len(texts), self._batch_size)
            for score in self._score(texts[start : start + self._batch_size])
        ]

    def _score(self, texts: Sequence[tuple[Prompt, str]]) -> "list[torch.Tensor | str]":
        try:
            batch = send_to_device(self._collator.collate(texts), self._device)
        except (RowError, InvalidComparisonError) as error:
            return [str(error)] if len(texts) == 1 else [score for text in texts for score in self._score([text])]
        lengths = batch.pop("owners").bincount(minlength=len(texts)).tolist()
        targets = batch.pop("targets").split(lengths)
        logits = self._model(**batch, use_cache=False).logits[0].split(lengths)
        return [  # a text at a time, to save memory
            -cross_entropy(logits_SV.float(), targets_S, reduction="none").cpu()
            for logits_SV, targets_S in zip(logits, targets, strict=True)
        ]
