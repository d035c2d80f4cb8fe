"""Phrases for detectors that read text: one prompt of several phrases, and which token belongs to which phrase.

Grounding DINO reads "dog. hot dog. bus." and gives a similarity per box and token. The functions here make such prompts
within the model's text limit and turn similarities per token into scores per phrase.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

MAX_PHRASE_CHARACTERS = 100
_SEPARATORS = re.compile(r"[.?\s]+")


def clean_phrase(phrase: str) -> str:
    """The phrase as it stands in a prompt: lower case, one space between words, none of the separators "." and "?"."""
    return _SEPARATORS.sub(" ", phrase).strip().lower()


def join_phrases(phrases: Iterable[str]) -> str:
    """The prompt of several phrases: each ended by a full stop."""
    return " ".join(f"{clean_phrase(phrase)}." for phrase in phrases)


def split_phrases(phrases: Sequence[str], num_tokens: Sequence[int], *, limit: int) -> Iterator[list[str]]:
    """Phrases in groups whose tokens fit one prompt, in order.

    num_tokens: tokens of each phrase, its full stop included. limit: most tokens of one prompt, the two that frame it
    included. A phrase that is too long on its own is left out.
    """
    group: list[str] = []
    room = limit - 2
    for phrase, number in zip(phrases, num_tokens, strict=True):
        if number > limit - 2:
            continue
        if number > room:
            yield group
            group, room = [], limit - 2
        group.append(phrase)
        room -= number
    if group:
        yield group


def map_phrase_tokens(input_ids_S: Tensor, separator_ids: Sequence[int]) -> Tensor:
    """Which tokens belong to which phrase of a prompt, bool (phrases, S).

    separator_ids: frame, padding and the full stop; runs of other tokens are phrases, in order.
    """
    is_separator = torch.isin(input_ids_S, torch.tensor(separator_ids, device=input_ids_S.device))
    group_S = is_separator.cumsum(0)
    groups = group_S[~is_separator].unique()
    belongs: Tensor = (group_S == groups[:, None]) & ~is_separator
    return belongs


def score_phrases(logits_QT: Tensor, phrase_tokens_PS: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of each box for each phrase in [0, 1]: of its best token (Q, P) and their mean (Q, P).

    logits_QT: similarity per box and token; T ≥ S, columns beyond S are padding.
    """
    probabilities_QS = logits_QT[:, : phrase_tokens_PS.shape[1]].sigmoid()
    weights_SP = phrase_tokens_PS.to(probabilities_QS.dtype).T
    mean_QP = probabilities_QS @ (weights_SP / weights_SP.sum(0).clamp(min=1))
    best_QP = (probabilities_QS[:, None, :] * phrase_tokens_PS).amax(-1)
    return best_QP, mean_QP
