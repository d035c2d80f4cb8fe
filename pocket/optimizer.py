"""The optimizer of every pocket stage: Muon for the matrices of the blocks, AdamW for everything else.

Muon (Jordan et al., 2024; `training.muon`) orthogonalises the update of a weight matrix; on these small
transformers it needs clearly fewer steps than AdamW alone. Learning rates are matched to AdamW's scale. Embeddings
and gains move at a share of the matrices' rate: names that come up rarely would otherwise be thrown about by Adam's
normalisation, and their alignment with the image lost.
"""

from collections.abc import Iterable

import torch
from torch import nn

from training.muon import Muon


class Optimizers:
    """Muon and AdamW stepped together under one schedule: linear warm-up, flat, then linear decay to zero."""

    def __init__(
        self, modules: Iterable[nn.Module], *, learning_rate: float, num_steps: int, warmup_share: float = 0.03,
        decay_share: float = 0.4, rest_share: float = 1.0, not_muon: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """learning_rate: peak. num_steps: length of the schedule. Shares of warm-up and decay are fractions of
        num_steps, rest_share is the rate of what is no matrix of a block as a share of learning_rate, all in [0, 1].
        not_muon: parts of names of matrices that AdamW moves although they lie in a block.
        """
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for module in modules:
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    inner = parameter.ndim == 2 and ("layers" in name or "blocks" in name or "merger" in name)
                    inner = inner and not any(part in name for part in not_muon)
                    (matrices if inner else rest).append(parameter)
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        ]
        if matrices:
            self._optimizers.append(Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"))
        self._factors = [rest_share, 1.0]
        self._parameters = matrices + rest
        self._peak, self._num_steps = learning_rate, num_steps
        self._warmup, self._decay = max(1, int(warmup_share * num_steps)), max(1, int(decay_share * num_steps))

    def rate(self, step: int) -> float:
        """Learning rate at a step in [0, num_steps)."""
        return self._peak * max(0.0, min(1.0, (step + 1) / self._warmup, (self._num_steps - step) / self._decay))

    def step(self, step: int) -> float:
        """Clip to unit norm, update, clear gradients. Returns the gradient norm before clipping."""
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, 1.0))
        for factor, optimizer in zip(self._factors, self._optimizers, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = factor * self.rate(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, object]:
        """State of both optimizers, for a checkpoint."""
        return {str(i): optimizer.state_dict() for i, optimizer in enumerate(self._optimizers)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore what `state_dict` gave."""
        for i, optimizer in enumerate(self._optimizers):
            optimizer.load_state_dict(state[str(i)])  # type: ignore[arg-type] # written by state_dict
