"""Muon in float32, for CPUs that would emulate bfloat16."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training import muon
from training.muon import Muon, orthogonalise


def _walk(monkeypatch: pytest.MonkeyPatch, *, has_bfloat16: bool, shape: tuple[int, int]) -> tuple[Tensor, Muon]:
    """The matrix after three steps on given gradients."""
    monkeypatch.setattr(muon, "cpu_has_bfloat16", lambda: has_bfloat16)
    generator = torch.Generator().manual_seed(0)
    matrix = nn.Parameter(torch.randn(shape, generator=generator))
    optimizer = Muon([matrix], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        matrix.grad = torch.randn(shape, generator=generator)
        optimizer.step()
    return matrix.detach(), optimizer


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_in_float32_the_steps_are_those_of_torch_to_the_precision_of_bfloat16(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    ours, _ = _walk(monkeypatch, has_bfloat16=False, shape=shape)
    theirs, _ = _walk(monkeypatch, has_bfloat16=True, shape=shape)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()
    assert not torch.equal(ours, theirs)  # else both went the same way and nothing was compared


def test_a_checkpoint_goes_on_with_either_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = _walk(monkeypatch, has_bfloat16=False, shape=(24, 64))
    _, theirs = _walk(monkeypatch, has_bfloat16=True, shape=(24, 64))
    mine, others = (optimizer.state_dict()["state"][0] for optimizer in (ours, theirs))
    assert mine.keys() == others.keys()
    torch.testing.assert_close(mine["momentum_buffer"], others["momentum_buffer"])


def test_a_parameter_without_a_gradient_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "cpu_has_bfloat16", lambda: False)
    still = nn.Parameter(torch.ones(4, 4))
    loss = Muon([still], lr=0.1).step(lambda: 7.0)
    assert loss == 7.0
    assert torch.equal(still.detach(), torch.ones(4, 4))


def test_it_takes_what_the_one_of_torch_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group without parameters, a rate as a tensor, and weights in bfloat16, which stay what they are."""
    moved = []
    for has_bfloat16 in (False, True):
        monkeypatch.setattr(muon, "cpu_has_bfloat16", lambda has=has_bfloat16: has)
        matrix = nn.Parameter(torch.eye(8, dtype=torch.bfloat16))
        matrix.grad = torch.randn(8, 8, generator=torch.Generator().manual_seed(2)).bfloat16()
        groups: list[dict[str, Any]] = [{"params": []}, {"params": [matrix]}]
        rate: Any = torch.tensor([0.1])  # torch's annotations do not say that it may be one
        Muon(groups, lr=rate).step()
        moved.append(matrix.detach())
    assert moved[0].dtype == torch.bfloat16
    torch.testing.assert_close(moved[0], moved[1], atol=0.01, rtol=0.05)


def test_what_is_orthogonalised_stretches_nothing_by_much() -> None:
    matrix = torch.randn(16, 48, generator=torch.Generator().manual_seed(1))
    stretches = torch.linalg.svdvals(orthogonalise(matrix, (3.4445, -4.775, 2.0315), 5, eps=1e-7))
    assert stretches.shape == (16,)
    assert ((stretches > 0.6) & (stretches < 1.3)).all()
