"""The mixture loss against values computed by hand."""

import math

import pytest
import torch

from training.losses import learning_weight, mixture_loss, sample_losses

TWO = math.log(2.0)
"""Loss of a token that has probability one half."""


def logits_of(probabilities: list[float]) -> torch.Tensor:
    """Logits over two tokens, from the probability of token 1 at each position."""
    return torch.tensor([[math.log(1 - p), math.log(p)] for p in probabilities])


def ones(number: int) -> torch.Tensor:
    return torch.ones(number, dtype=torch.long)


def test_a_samples_loss_is_the_mean_over_its_own_tokens() -> None:
    logits = logits_of([0.5, 0.9, 0.25])
    losses = sample_losses(logits, ones(3), torch.tensor([1, 0, 1]), num_samples=2)
    assert losses.tolist() == pytest.approx([-math.log(0.9), (TWO + math.log(4)) / 2])


def test_a_long_critique_weighs_as_much_as_a_short_one() -> None:
    logits, owners = logits_of([0.5, 0.25, 0.5, 0.25]), torch.tensor([0, 1, 0, 1])
    same = mixture_loss(logits[:2], ones(2), owners[:2], torch.zeros(2), mixing=1.0).item()
    assert same == pytest.approx((TWO + 2 * TWO) / 2)
    longer = logits_of([0.5, 0.5, 0.5, 0.25])
    assert mixture_loss(longer, ones(4), torch.tensor([0, 0, 0, 1]), torch.zeros(2), mixing=1.0).item() == (
        pytest.approx(same)
    )


def test_the_mixture_adds_the_weighted_mean() -> None:
    logits, owners = logits_of([0.5, 0.25]), torch.tensor([0, 1])
    plain = (TWO + 2 * TWO) / 2
    weighted = (1.0 * TWO + 0.25 * 2 * TWO) / 2
    loss = mixture_loss(logits, ones(2), owners, torch.tensor([1.0, 0.25]), mixing=0.5)
    assert loss.item() == pytest.approx(plain + 0.5 * weighted)


def test_without_mixing_the_weights_do_not_matter() -> None:
    logits, owner = logits_of([0.5]), torch.tensor([0])
    losses = [mixture_loss(logits, ones(1), owner, torch.tensor([w]), mixing=0.0).item() for w in (0.0, 1.0)]
    assert losses[0] == losses[1] == pytest.approx(TWO)


def test_gradients_follow_the_derivative_worked_out_by_hand() -> None:
    """d/dz of −log softmax(z)[1] is p − [0, 1]; times (1 + λ w)."""
    logits = logits_of([0.25]).requires_grad_()
    mixture_loss(logits, ones(1), torch.tensor([0]), torch.tensor([0.5]), mixing=0.5).backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([1.25 * 0.75, -1.25 * 0.75])


@pytest.mark.parametrize(("probability", "weight"), [(None, 1.0), (0.0, 1.0), (0.5, 1.0), (0.75, 0.5), (1.0, 0.0)])
def test_the_weight_falls_from_one_half_to_certainty(probability: float | None, weight: float) -> None:
    assert learning_weight(probability) == pytest.approx(weight)
