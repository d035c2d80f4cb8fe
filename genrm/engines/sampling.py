"""Choosing the next token of every row: greedy, or drawn from the nucleus with a random number that belongs to the row.

One uniform number per row and step, from the row's own generator, picks the token from the row's own distribution, so
what a row draws does not depend on which rows happen to be beside it. Python's generator is used rather than torch's:
it gives the same numbers on every device and costs nothing. There are no penalties and no top-k: a judge's
probabilities should be the model's.

Shapes: R rows, V vocabulary.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor


def row_generator(seed: int | None, row: int) -> random.Random:
    """The source of a row's random numbers. row: index of the prompt in its call. seed None: unpredictable."""
    return random.Random() if seed is None else random.Random(f"{seed}/{row}")


def draw_tokens(
    logits_RV: Tensor, *, temperatures: Sequence[float], top_ps: Sequence[float], numbers: Sequence[float]
) -> Tensor:
    """Sample one token id per row, int64 (R,), on the logits' device.

    logits_RV: float32. temperatures: > 0. top_ps: the smallest set of likeliest tokens that holds this much probability
    is drawn from, in (0, 1]. numbers: uniform in [0, 1), one per row.

    Inverse transform sampling over tokens from likely to unlikely, which keeps float32 sums accurate where it matters.
    """
    device = logits_RV.device
    temperatures_R1 = torch.tensor(temperatures, device=device)[:, None].clamp_min(torch.finfo(torch.float32).tiny)
    top_ps_R1 = torch.tensor(top_ps, device=device)[:, None]
    numbers_R1 = torch.tensor(numbers, device=device)[:, None]

    below_best_RV = logits_RV - logits_RV.amax(-1, keepdim=True)  # at a tiny temperature the logits would overflow
    scaled_RV = below_best_RV / temperatures_R1
    likely_RV, order_RV = torch.softmax(scaled_RV, dim=-1).sort(dim=-1, descending=True, stable=True)
    mass_before_RV = likely_RV.cumsum(-1) - likely_RV
    in_nucleus_RV = mass_before_RV < top_ps_R1
    in_nucleus_RV[:, 0] = True  # the likeliest token, whatever rounding does
    mass_RV = (likely_RV * in_nucleus_RV).cumsum(-1)
    rank_R1 = torch.searchsorted(mass_RV, numbers_R1 * mass_RV[:, -1:], right=True)
    rank_R1 = torch.minimum(rank_R1, in_nucleus_RV.sum(-1, keepdim=True) - 1)
    return order_RV.gather(1, rank_R1)[:, 0]


def choose_tokens(
    logits_RV: Tensor,
    *,
    temperatures: Sequence[float],
    top_ps: Sequence[float],
    generators: Sequence[random.Random],
) -> list[int]:
    """The next token id of every row: at temperature 0 the likeliest one (of equals the lowest id), else a draw."""
    chosen: list[int] = logits_RV.argmax(-1).tolist()
    warm = [row for row, temperature in enumerate(temperatures) if temperature > 0]
    if warm:
        drawn = draw_tokens(
            logits_RV if len(warm) == len(chosen) else logits_RV[torch.tensor(warm, device=logits_RV.device)],
            temperatures=[temperatures[row] for row in warm],
            top_ps=[top_ps[row] for row in warm],
            numbers=[generators[row].random() for row in warm],
        )
        for row, token in zip(warm, drawn.tolist(), strict=True):
            chosen[row] = token
    return chosen
