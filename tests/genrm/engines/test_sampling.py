"""The next token is the likeliest at temperature 0, else drawn from the row's own distribution with its own numbers."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genrm.engines.sampling import choose_tokens, draw_tokens, row_generator

LOGITS = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
"""Probabilities of four tokens, likeliest first."""


def draw_evenly(logits: torch.Tensor, *, temperature: float = 1.0, top_p: float = 1.0, num: int = 1000) -> list[float]:
    """Share of each token when the numbers are spread evenly, so that shares equal probabilities to 1/num."""
    tokens = draw_tokens(
        logits.expand(num, -1),
        temperatures=[temperature] * num,
        top_ps=[top_p] * num,
        numbers=[(index + 0.5) / num for index in range(num)],
    )
    return [round(share, 3) for share in (torch.bincount(tokens, minlength=len(logits)) / num).tolist()]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    assert draw_evenly(LOGITS) == pytest.approx([0.5, 0.25, 0.15, 0.1], abs=0.0015)


def test_the_order_of_the_vocabulary_does_not_matter() -> None:
    assert draw_evenly(LOGITS[[3, 0, 2, 1]]) == pytest.approx([0.1, 0.5, 0.15, 0.25], abs=0.0015)


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    """At temperature T the probabilities are p^(1/T), normalised: at T = 1/2 the squares 0.25, 0.0625, 0.0225, 0.01."""
    total = 0.25 + 0.0625 + 0.0225 + 0.01
    squares = [0.25 / total, 0.0625 / total, 0.0225 / total, 0.01 / total]
    assert draw_evenly(LOGITS, temperature=0.5) == pytest.approx(squares, abs=0.0015)
    assert draw_evenly(LOGITS, temperature=1e6) == pytest.approx([0.25] * 4, abs=0.0015)


@pytest.mark.parametrize("temperature", [1e-30, 1e-39, 1e-50, 5e-324])
def test_the_smallest_temperature_takes_the_likeliest_token(temperature: float) -> None:
    assert draw_evenly(10 * LOGITS[[3, 0, 2, 1]], temperature=temperature, num=9) == [0, 1, 0, 0]


def test_only_the_nucleus_is_drawn_from() -> None:
    """The smallest set with at least 0.7 is the first two tokens, renormalised to 2/3 and 1/3."""
    assert draw_evenly(LOGITS, top_p=0.7) == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=0.0015)


def test_a_tiny_nucleus_is_the_likeliest_token() -> None:
    assert draw_evenly(LOGITS, top_p=1e-9) == [1, 0, 0, 0]


def test_the_largest_number_draws_no_impossible_token() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 0.0, -torch.inf]])
    token = draw_tokens(logits, temperatures=[1.0], top_ps=[1.0], numbers=[1 - 2**-53])
    assert token.item() == 2


def test_temperature_zero_takes_the_likeliest_and_of_equals_the_first() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [3.0, 1.0, 0.0]])
    generators = [random.Random(0), random.Random(0)]
    assert choose_tokens(logits, temperatures=[0, 0], top_ps=[1, 1], generators=generators) == [1, 0]


def test_greedy_rows_use_up_no_random_numbers() -> None:
    generator = row_generator(1, 0)
    choose_tokens(LOGITS[None], temperatures=[0], top_ps=[1], generators=[generator])
    assert generator.random() == row_generator(1, 0).random()


def test_what_a_row_draws_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 50)
    temperatures = [0.7, 0.0, 1.0, 1.3, 0.0, 2.0]
    top_ps = [1.0, 1.0, 0.9, 0.5, 0.3, 1.0]

    def choose(rows: list[int]) -> list[int]:
        return choose_tokens(
            logits[rows],
            temperatures=[temperatures[row] for row in rows],
            top_ps=[top_ps[row] for row in rows],
            generators=[row_generator(7, row) for row in rows],
        )

    together = choose([0, 1, 2, 3, 4, 5])
    assert [choose([row])[0] for row in range(6)] == together
    assert choose([5, 3, 1]) == [together[5], together[3], together[1]]


def test_the_same_seed_and_row_give_the_same_numbers_and_others_do_not() -> None:
    assert row_generator(3, 1).random() == row_generator(3, 1).random()
    assert len({row_generator(seed, row).random() for seed in range(10) for row in range(10)}) == 100


def test_without_a_seed_numbers_are_not_repeated() -> None:
    assert row_generator(None, 0).random() != row_generator(None, 0).random()


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=20),
    st.floats(0.01, 10),
    st.floats(0.01, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_a_drawn_token_is_always_in_the_nucleus(
    logits: list[float], temperature: float, top_p: float, number: float
) -> None:
    """Tokens before it, from likely to unlikely, hold less than top_p."""
    row = torch.tensor([logits], dtype=torch.float32)
    token = draw_tokens(row, temperatures=[temperature], top_ps=[top_p], numbers=[number]).item()
    probabilities = torch.softmax(row[0] / temperature, -1)
    likelier = probabilities[probabilities > probabilities[int(token)]]
    assert likelier.sum() < top_p + 1e-5
