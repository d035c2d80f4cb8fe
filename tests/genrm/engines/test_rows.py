"""A row takes tokens until it is finished, and its probabilities are those of the verdict that its text ends with."""

from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest
from transformers import PreTrainedTokenizerBase

from genrm.engines.chat_wire import TokenLogprobs, find_label_logprobs
from genrm.engines.contract import Completion, Prompt, Sampling
from genrm.engines.rows import Call, Row, Vocabulary
from genrm.engines.verdict_tokens import decode, find_label_ids, find_spellings
from genrm.parsing import parse_verdict

STOP = 2
PROMPT = Prompt(system="", images=(), shared="", tail="")
COMPLETION = Completion(
    text="", label_logprobs=None, finish_reason="stop", prompt_tokens=1, completion_tokens=1, cached_tokens=0
)


@pytest.fixture
def write(tokenizer: PreTrainedTokenizerBase) -> Callable[..., Row]:
    """Makes a row that is given the tokens of a text; the n-th label in it is reported with −n for both labels."""

    def make(
        text: str = "", *, prefix: str = "", stop: bool = True, pieces: list[str] | None = None, max_tokens: int = 100
    ) -> Row:
        sampling = Sampling(max_tokens=max_tokens)
        prompt = Prompt(system="", images=(), shared="", tail="", answer_prefix=prefix)
        call = Call([prompt], sampling, None if pieces is None else lambda _, piece: pieces.append(piece))
        label_ids = find_label_ids(tokenizer, marker=sampling.marker, labels=sampling.labels)
        vocabulary = Vocabulary(
            tokenizer=tokenizer,
            stop_ids=frozenset({STOP}),
            label_ids=label_ids,
            spellings=find_spellings(tokenizer, label_ids=label_ids, labels=sampling.labels),
        )
        row = Row(call, 0, vocabulary=vocabulary, num_prompt_tokens=7, position=20, max_tokens=max_tokens)
        num_labels = 0
        for token in [*tokenizer(text)["input_ids"], *([STOP] if stop else [])]:
            if row.finish_reason:
                break
            is_label = bool(row.label_ids_at(token))
            num_labels += is_label
            row.accept(token, (-float(num_labels),) * 2 if is_label else None)
        return row

    return make


def test_a_row_ends_at_a_stop_token_which_is_no_text(write: Callable[..., Row]) -> None:
    completion = write("It is a cat.").completion()
    assert (completion.text, completion.finish_reason) == ("It is a cat.", "stop")


def test_the_token_that_ends_a_text_is_counted(write: Callable[..., Row], tokenizer: PreTrainedTokenizerBase) -> None:
    completion = write("It is a cat.").completion()
    assert completion.completion_tokens == len(tokenizer("It is a cat.")["input_ids"]) + 1
    assert completion.prompt_tokens == 7


def test_a_row_that_reaches_its_limit_says_so(write: Callable[..., Row]) -> None:
    completion = write("It is a cat. It is a dog.", max_tokens=3).completion()
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 3)


def test_a_text_that_ends_exactly_at_its_limit_is_cut_off(write: Callable[..., Row]) -> None:
    """The stop token would have been one token more, as for `generate`."""
    assert write("It", max_tokens=1, stop=False).completion().finish_reason == "length"


def test_positions_follow_the_prompt(write: Callable[..., Row]) -> None:
    row = write("It is", stop=False)
    assert row.position == 20 + len(row.ids)


def test_a_row_reserves_its_prompt_and_all_it_may_write(write: Callable[..., Row]) -> None:
    assert write(max_tokens=30).num_reserved_tokens == 37


def test_without_a_verdict_there_are_no_label_probabilities(write: Callable[..., Row]) -> None:
    assert write("It is a cat.").completion().label_logprobs is None


def test_the_last_verdict_written_counts(write: Callable[..., Row]) -> None:
    text = "I thought of Verdict: First but I count three.\nVerdict: Second"
    assert write(text).completion().label_logprobs == (-2.0, -2.0)


def test_the_probabilities_are_those_of_the_verdict_that_the_text_says(write: Callable[..., Row]) -> None:
    text = "It could be Verdict: First.\n**Verdict:** Second. The First is wrong"
    assert write(text).completion().label_logprobs == (-2.0, -2.0)


def test_characters_of_several_tokens_do_not_shift_the_verdict(write: Callable[..., Row]) -> None:
    assert write("The First 🙂🙂 né. Verdict: Second").completion().label_logprobs == (-2.0, -2.0)


def test_a_verdict_whose_label_is_no_single_token_is_not_read_elsewhere(write: Callable[..., Row]) -> None:
    assert write("Verdict: First.\nVerdict: SECOND").completion().label_logprobs is None


@pytest.mark.parametrize(
    "text",
    [
        "Verdict: First",
        "So it is.\nVerdict:First",
        "**Verdict:** Second",
        "**Verdict: Second**",
        "Verdict: **First**",
        "verdict :\nSecond.",
        "Verdict: First or Second",
        "Verdict: Second\n(Allowed: Verdict: First or Second)",
        "Verdict: First. So my Verdict: is it",
        "The First is right",
    ],
)
def test_both_engines_read_the_same_text_alike(
    write: Callable[..., Row], tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    row = write(text)
    tokens: list[TokenLogprobs] = []
    num_labels = 0
    for token in row.ids:
        num_labels += bool(row.label_ids_at(token))
        logprob = -float(num_labels) if row.label_ids_at(token) else -0.1
        tokens.append(TokenLogprobs(token=decode(tokenizer, [token]), logprob=logprob))
    served = find_label_logprobs(
        tokens, answer_prefix="", can_continue=True, marker="Verdict:", labels=("First", "Second")
    )
    found = row.completion().label_logprobs
    assert (found is None) == (served is None) == (parse_verdict(text).label is None)
    if found and served:
        assert max(served) == pytest.approx(found[0])


def test_a_marker_that_no_label_follows_does_not_count(write: Callable[..., Row]) -> None:
    assert write("Verdict: First. So my Verdict: is it").completion().label_logprobs == (-1.0, -1.0)
    assert write("My Verdict: is it").completion().label_logprobs is None


def test_a_label_without_a_marker_does_not_count(write: Callable[..., Row]) -> None:
    assert write("The First is right").completion().label_logprobs is None


def test_an_answer_that_begins_within_the_marker_is_at_a_verdict_when_it_completes_it(
    write: Callable[..., Row],
) -> None:
    assert write("dict: Second", prefix="So: Ver").completion().label_logprobs == (-1.0, -1.0)


def test_a_prompt_that_ends_with_the_marker_wants_a_label_only(write: Callable[..., Row]) -> None:
    row = write(prefix="Verdict:", stop=False)
    assert row.wants_label_only
    row.accept_label((-2.0, -0.5))
    completion = row.completion()
    assert (completion.text, completion.label_logprobs) == (" Second", (-2.0, -0.5))
    assert (completion.finish_reason, completion.completion_tokens) == ("stop", 1)


def test_no_labels_wanted_means_none_are_looked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    vocabulary = Vocabulary(tokenizer=tokenizer, stop_ids=frozenset({STOP}), label_ids=(), spellings={})
    prompt = Prompt(system="", images=(), shared="", tail="", answer_prefix="Verdict:")
    call = Call([prompt], Sampling(labels=()))
    row = Row(call, 0, vocabulary=vocabulary, num_prompt_tokens=1, position=0, max_tokens=5)
    assert not row.wants_label_only
    assert not any(row.label_ids_at(token) for token in range(len(tokenizer)))


def test_streamed_pieces_are_the_text(write: Callable[..., Row]) -> None:
    pieces: list[str] = []
    row = write("It is a 🙂 cat.\nVerdict: First", pieces=pieces)
    assert "".join(pieces) == row.completion().text
    assert len(pieces) > 5


def test_a_character_cut_off_by_the_limit_is_streamed_as_the_text_has_it(write: Callable[..., Row]) -> None:
    pieces: list[str] = []
    row = write("🙂", pieces=pieces, max_tokens=2)
    assert "".join(pieces) == row.completion().text == "\ufffd"


def test_a_label_is_streamed_too(write: Callable[..., Row]) -> None:
    pieces: list[str] = []
    write(prefix="Verdict:", stop=False, pieces=pieces).accept_label((-0.1, -3.0))
    assert pieces == [" First"]


def test_a_call_is_answered_when_its_last_row_is_done_in_the_order_of_its_prompts() -> None:
    call = Call([PROMPT, PROMPT], Sampling())
    second = Completion(
        text="2", label_logprobs=None, finish_reason="stop", prompt_tokens=1, completion_tokens=1, cached_tokens=0
    )
    call.complete_row(1, second)
    assert not call.is_over
    call.complete_row(0, COMPLETION)
    assert call.future.result() == [COMPLETION, second]


def test_a_cancelled_call_takes_answers_and_errors_in_silence() -> None:
    call = Call([PROMPT], Sampling())
    call.future.cancel()
    assert call.is_over
    call.complete_row(0, COMPLETION)
    call.fail(ValueError("too late"))
    with pytest.raises(CancelledError):
        call.future.result()


def test_a_failed_call_stays_failed() -> None:
    call = Call([PROMPT], Sampling())
    call.fail(ValueError("first"))
    call.fail(ValueError("second"))
    call.complete_row(0, COMPLETION)
    with pytest.raises(ValueError, match="first"):
        call.future.result()
