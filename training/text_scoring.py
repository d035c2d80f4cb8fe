"""How probable a model finds a text behind a prompt, token by token: for judging what was written, not for writing.

Needs the model in this process; servers seldom tell the probabilities of a text that they did not write.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from genrm.engines.contract import Prompt
from genrm.engines.loading import choose_placement, load_model
from training.engines import EngineChoice
from training.losses import IGNORED
from training.samples import Collator


class TextScorer:
    """Scores texts with one model. Raises ModelLoadError if it cannot be loaded.

    batch_size: texts computed together. max_tokens: longest prompt with its text; longer ones raise ValueError.
    """

    def __init__(self, choice: EngineChoice, *, batch_size: int = 16, max_tokens: int = 8192) -> None:
        placement = choose_placement(device="auto", dtype="auto", attention="sdpa")
        loaded = load_model(choice.model_name, adapter=choice.adapter, placement=placement)
        self._model: Any = loaded.model
        self._device, self._batch_size = placement.device, batch_size
        self._collator = Collator(loaded.processor, loaded.model.config, max_tokens=max_tokens)

    @torch.inference_mode()
    def score(self, texts: Sequence[tuple[Prompt, str]]) -> list[torch.Tensor]:
        """Natural-log probability of each token of each text behind its prompt, the end of the turn included, float32
        on the CPU.
        """
        found: list[torch.Tensor] = []
        for start in range(0, len(texts), self._batch_size):
            batch = self._collator.collate(texts[start : start + self._batch_size])
            labels = batch.pop("labels")
            inputs = {
                name: value.to(self._device) if isinstance(value, torch.Tensor) else value
                for name, value in batch.items()
            }
            logits_BSV = self._model(**inputs, use_cache=False).logits[:, :-1]
            assert isinstance(labels, torch.Tensor)
            targets_BS = labels[:, -logits_BSV.shape[1] :].to(self._device)
            for logits_SV, targets_S in zip(logits_BSV, targets_BS, strict=True):  # a text at a time, to save memory
                own = targets_S != IGNORED
                found.append(-cross_entropy(logits_SV[own].float(), targets_S[own], reduction="none").cpu())
        return found
