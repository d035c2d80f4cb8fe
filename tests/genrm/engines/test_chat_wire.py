"""Prompts become OpenAI messages; token log-probabilities become label probabilities at the last verdict position."""

import base64
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from genrm.engines.chat_wire import (
    ChatEvent,
    TokenLogprobs,
    build_messages,
    encode_image,
    find_label_logprobs,
    merge_events,
)
from genrm.engines.contract import Prompt
from genrm.prompts import LABELS, MARKER

IMAGE = Image.new("RGB", (9, 5), "olive")
PROMPT = Prompt(system="Judge.", images=(IMAGE,), shared="Question: what?\n", tail="First response: a")
FAST = Prompt(
    system="Judge.", images=(IMAGE,), shared="Question: what?\n", tail="First response: a", answer_prefix=MARKER
)


def write_token(text: str | bytes, alternatives: dict[str, float] | None = None, *, p: float = 0.5) -> TokenLogprobs:
    """A token with its probability and those of its alternatives, as a server would send it."""
    raw = text.encode() if isinstance(text, str) else text
    return TokenLogprobs.model_validate(
        {
            "token": raw.decode("utf-8", "replace"),
            "bytes": list(raw),
            "logprob": math.log(p),
            "top_logprobs": [
                {"token": token, "logprob": math.log(q), "bytes": list(token.encode())}
                for token, q in (alternatives or {}).items()
            ],
        }
    )


def find(*tokens: TokenLogprobs, prefix: str = "", can_continue: bool = True) -> tuple[float, ...] | None:
    found = find_label_logprobs(tokens, answer_prefix=prefix, can_continue=can_continue, marker=MARKER, labels=LABELS)
    return None if found is None else tuple(math.exp(value) for value in found)


class TestMessages:
    """System, then images before text, then what the assistant has begun."""

    def test_images_come_before_the_text_as_data_urls(self) -> None:
        assert build_messages(PROMPT, ["data:one", "data:two"], can_continue=True) == [
            {"role": "system", "content": "Judge."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:one"}},
                    {"type": "image_url", "image_url": {"url": "data:two"}},
                    {"type": "text", "text": "Question: what?\nFirst response: a"},
                ],
            },
        ]

    def test_a_started_answer_is_a_last_assistant_turn_where_the_server_can_continue_it(self) -> None:
        messages = build_messages(FAST, [], can_continue=True)
        assert messages[-1] == {"role": "assistant", "content": MARKER}

    def test_a_started_answer_is_asked_for_in_words_where_the_server_cannot(self) -> None:
        messages = build_messages(FAST, [], can_continue=False)
        assert messages[-1]["role"] == "user"
        assert f"Begin your answer with '{MARKER}'" in messages[-1]["content"][-1]["text"]

    def test_a_prompt_without_system_text_has_no_system_turn(self) -> None:
        prompt = Prompt(system="", images=(), shared="a", tail="b")
        assert [message["role"] for message in build_messages(prompt, [], can_continue=True)] == ["user"]

    def test_a_picture_arrives_pixel_by_pixel(self) -> None:
        noise = Image.effect_noise((20, 10), 90).convert("RGB")
        kind, data = encode_image(noise).split(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == noise.tobytes()


class TestReplies:
    """A reply is the same whether it comes whole or in events."""

    WHOLE = ChatEvent.model_validate(
        {
            "id": "x",
            "choices": [
                {
                    "message": {"role": "assistant", "content": "A dog."},
                    "logprobs": {"content": [{"token": "A dog.", "logprob": -0.5, "top_logprobs": []}]},
                    "finish_reason": "length",
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}},
        }
    )

    def test_a_whole_reply_is_read(self) -> None:
        reply = merge_events([self.WHOLE])
        assert reply.text == "A dog."
        assert reply.finish_reason == "length"
        assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (9, 4, 3)
        assert reply.tokens is not None
        assert [token.raw for token in reply.tokens] == [b"A dog."]

    def test_streamed_events_add_up_to_the_whole_reply(self) -> None:
        events = [
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"delta": {"content": "A "}}]},
            {
                "choices": [
                    {
                        "delta": {"content": "dog."},
                        "logprobs": {"content": [{"token": "A dog.", "logprob": -0.5}]},
                        "finish_reason": "length",
                    }
                ]
            },
            {
                "choices": [],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}},
            },
        ]
        assert merge_events(ChatEvent.model_validate(event) for event in events) == merge_events([self.WHOLE])

    @pytest.mark.parametrize("logprobs", [None, {"content": None}])
    def test_what_a_server_leaves_out_is_nothing_and_no_error(self, logprobs: object) -> None:
        event = {
            "choices": [{"message": {"content": None}, "logprobs": logprobs, "finish_reason": "stop"}],
            "usage": None,
        }
        reply = merge_events([ChatEvent.model_validate(event)])
        assert (reply.text, reply.tokens, reply.prompt_tokens, reply.cached_tokens) == ("", None, 0, 0)

    @pytest.mark.parametrize(
        "payload",
        [
            {},
            {"error": "no"},
            [],
            {"choices": 3},
            {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -1, "bytes": [256]}]}}]},
            {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -1, "bytes": [-1]}]}}]},
        ],
    )
    def test_what_is_no_reply_is_refused(self, payload: object) -> None:
        with pytest.raises(ValidationError):
            ChatEvent.model_validate_json(json.dumps(payload))


class TestLabelProbabilities:
    """They are those of the last verdict position, over everything the server lists."""

    def test_they_are_read_where_the_label_was_written(self) -> None:
        found = find(
            write_token("Seen."),
            write_token(" Verdict"),
            write_token(":"),
            write_token(" Second", {" Second": 0.7, " First": 0.2, " Neither": 0.05}, p=0.7),
        )
        assert found == pytest.approx((0.2, 0.7))

    def test_the_last_verdict_counts(self) -> None:
        early = write_token(" First", {" First": 0.9, " Second": 0.1}, p=0.9)
        late = write_token(" Second", {" First": 0.3, " Second": 0.6}, p=0.6)
        marker = write_token(" Verdict:")
        assert find(marker, early, write_token("? No."), marker, late) == pytest.approx((0.3, 0.6))

    def test_emphasis_between_marker_and_label_is_stepped_over(self) -> None:
        tokens = [write_token("**Verdict"), write_token(":**"), write_token(" **")]
        assert find(*tokens, write_token("First", {"First": 0.8, "Second": 0.1}, p=0.8)) == pytest.approx((0.8, 0.1))

    def test_a_token_that_holds_more_than_the_label_counts(self) -> None:
        choices = {" First**": 0.5, " First": 0.2, " Second**": 0.1}
        found = find(write_token("Verdict: **"), write_token(" First**", choices, p=0.5))
        assert found == pytest.approx((0.7, 0.1))

    def test_the_token_that_was_written_counts_once_even_if_it_is_listed(self) -> None:
        listed = write_token(" First", {" First": 0.6, " Second": 0.4}, p=0.6)
        unlisted = write_token(" First", {" Second": 0.4}, p=0.6)
        for token in (listed, unlisted):
            assert find(write_token("Verdict:"), token) == pytest.approx((0.6, 0.4))

    def test_spellings_of_a_label_add_up(self) -> None:
        token = write_token(" first", {" first": 0.3, " First": 0.3, "FIRST": 0.1, " Second": 0.2}, p=0.3)
        assert find(write_token("Verdict:"), token) == pytest.approx((0.7, 0.2))

    def test_an_unlisted_label_gets_no_more_than_the_least_that_is_listed(self) -> None:
        token = write_token(" First", {" First": 0.6, " Maybe": 0.01}, p=0.6)
        assert find(write_token("Verdict:"), token) == pytest.approx((0.6, 0.01))

    def test_an_unlisted_label_gets_no_more_than_the_rest(self) -> None:
        token = write_token(" First", {" First": 0.9, " Maybe": 0.0995}, p=0.9)
        assert find(write_token("Verdict:"), token) == pytest.approx((0.9, 0.0005), rel=1e-3)

    @pytest.mark.parametrize("p", [0.3, 0.5, 0.9])
    def test_where_no_label_is_listed_none_has_a_probability_to_speak_of(self, p: float) -> None:
        found = find(write_token(" Neither", p=p), prefix=MARKER)
        assert found is not None
        assert max(found) < 1e-9

    def test_certainty_leaves_the_other_label_a_little(self) -> None:
        found = find(write_token("Verdict:"), write_token(" First", p=1.0))
        assert found is not None
        assert found[0] == 1
        assert 0 < found[1] < 1e-9

    def test_a_label_of_several_tokens_is_known_by_its_first(self) -> None:
        token = write_token(" Fir", {" Fir": 0.6, " Sec": 0.3}, p=0.6)
        assert find(write_token("Verdict:"), token, write_token("st")) == pytest.approx((0.6, 0.3))

    def test_characters_cut_between_tokens_do_not_shift_the_position(self) -> None:
        dog = "🐕".encode()
        tokens = [write_token(dog[:2]), write_token(dog[2:]), write_token("é Verdict:")]
        assert find(*tokens, write_token(" First", {" Second": 0.25}, p=0.75)) == pytest.approx((0.75, 0.25))

    def test_without_a_verdict_there_are_none(self) -> None:
        assert find(write_token("Nothing"), write_token(" First")) is None
        assert find() is None

    def test_after_a_prefix_the_first_position_is_the_verdict_position_whatever_was_written(self) -> None:
        token = write_token(" Well", {" Well": 0.9, " First": 0.05, " Second": 0.01}, p=0.9)
        assert find(token, prefix=MARKER) == pytest.approx((0.05, 0.01))

    def test_after_a_prefix_the_label_is_found(self) -> None:
        token = write_token(" First", {" First": 0.8, " Second": 0.1}, p=0.8)
        assert find(token, prefix=MARKER) == pytest.approx((0.8, 0.1))
        assert find(write_token(" **", p=0.9), token, prefix=MARKER) == pytest.approx((0.8, 0.1))

    def test_a_prefix_that_was_asked_for_in_words_may_be_repeated_or_left_out(self) -> None:
        token = write_token(" First", {" First": 0.8, " Second": 0.1}, p=0.8)
        repeated = [write_token("Ver"), write_token("dict"), write_token(":"), token]
        for tokens in (repeated, [token]):
            assert find(*tokens, prefix=MARKER, can_continue=False) == pytest.approx((0.8, 0.1))
        assert find(write_token("Well", {"First": 0.1}), prefix=MARKER, can_continue=False) is None

    @given(pieces=st.lists(st.binary(max_size=6), max_size=12), label=st.sampled_from(LABELS))
    def test_whatever_precedes_the_verdict_its_position_is_found(self, pieces: list[bytes], label: str) -> None:
        token = write_token(f" {label}", {" First": 0.6, " Second": 0.3}, p=0.6 if label == "First" else 0.3)
        found = find(*map(write_token, pieces), write_token("\nVerdict:"), token, write_token("\n"))
        assert found == pytest.approx((0.6, 0.3))

    @given(
        tokens=st.lists(st.builds(write_token, st.binary(max_size=9)), max_size=9), prefix=st.sampled_from(["", MARKER])
    )
    def test_no_reply_makes_it_fail(self, tokens: list[TokenLogprobs], prefix: str) -> None:
        found = find(*tokens, prefix=prefix)
        assert found is None or all(0 < mass <= 1.0001 for mass in found)
