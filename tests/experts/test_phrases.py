"""Phrases: prompts within the text limit, and which token belongs to which phrase."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experts.phrases import clean_phrase, join_phrases, map_phrase_tokens, score_phrases, split_phrases

CLS, SEP, PAD, STOP = 101, 102, 0, 1012


@pytest.mark.parametrize(
    ("given_", "cleaned"), [("A  Dog.", "a dog"), ("what?", "what"), (" U.S. flag ", "u s flag"), ("..", "")]
)
def test_a_phrase_keeps_no_separator(given_: str, cleaned: str) -> None:
    assert clean_phrase(given_) == cleaned


def test_phrases_are_joined_as_the_model_was_trained() -> None:
    assert join_phrases(["Dog", "hot dog"]) == "dog. hot dog."


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(4, 40))
def test_every_prompt_fits_and_no_phrase_that_fits_is_lost(lengths: list[int], limit: int) -> None:
    phrases = [str(i) for i in range(len(lengths))]
    groups = list(split_phrases(phrases, lengths, limit=limit))
    assert all(sum(lengths[int(p)] for p in group) <= limit - 2 for group in groups)
    assert [p for group in groups for p in group] == [
        p for p, n in zip(phrases, lengths, strict=True) if n <= limit - 2
    ]
    assert all(groups)


def test_tokens_between_separators_are_one_phrase() -> None:
    ids = torch.tensor([CLS, 7, STOP, 8, 9, STOP, SEP, PAD, PAD])
    mapped = map_phrase_tokens(ids, [CLS, SEP, PAD, STOP])
    assert mapped.int().tolist() == [[0, 1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0, 0]]


def test_a_phrase_of_two_words_scores_by_its_best_word_and_by_the_mean() -> None:
    """Logits 0 and 2.1972 are probabilities 0.5 and 0.9: best 0.9, mean 0.7. Padding (minus infinity) counts
    nothing.
    """
    mapped = torch.tensor([[False, True, True, False]])
    logits = torch.tensor([[9.0, 0.0, 2.1972246, 9.0, float("-inf")]])
    best, mean = score_phrases(logits, mapped)
    assert best.item() == pytest.approx(0.9, abs=1e-6)
    assert mean.item() == pytest.approx(0.7, abs=1e-6)
