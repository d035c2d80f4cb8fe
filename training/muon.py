"""Muon (Jordan et al., 2024), on CPUs without bfloat16 too.

torch's own orthogonalises every update in bfloat16. A CPU that has no instructions for it emulates them, and a step of
the pocket models' language model then takes 4 s for the optimizer alone. There the same iteration runs in float32.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim._muon import _adjust_lr  # torch's rule; a copy of ours could come to differ from it

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""As torch calls them, on x86-64 and ARM."""


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16, without which it is several times slower than float32. An older
    PyTorch cannot say; then it counts as without.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in _BFLOAT16_INSTRUCTIONS)


class Muon(torch.optim.Muon):
    """torch's Muon with its arguments and state, in float32 where bfloat16 would be emulated."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        """One update of all parameters that have a gradient; returns what the closure returns."""
        devices = {parameter.device.type for group in self.param_groups for parameter in group["params"]}
        if cpu_has_bfloat16() or devices != {"cpu"}:
            return super().step(closure)  # type: ignore[no-untyped-call] # torch's has no annotations
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum_buffer"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        wanted = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        update = orthogonalise(wanted.float(), group["ns_coefficients"], group["ns_steps"], eps=group["eps"])
        rate = float(group["lr"])
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.add_(update.to(parameter.dtype), alpha=-_adjust_lr(rate, group["adjust_lr_fn"], parameter.shape))


def orthogonalise(matrix: Tensor, coefficients: tuple[float, float, float], num_steps: int, *, eps: float) -> Tensor:
    """The nearest matrix with orthonormal rows or columns, about, by Newton-Schulz iterations; shape and dtype kept.

    coefficients: of the odd polynomial of degree five that is applied num_steps times. eps: least norm to divide by.
    """
    first, third, fifth = coefficients
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(num_steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), wide, beta=first)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
