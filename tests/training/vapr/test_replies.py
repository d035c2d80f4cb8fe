"""What a model replies when it is asked for an edit, and what that amounts to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.vapr.editors import EditRequest
from training.vapr.replies import NoEdit, json_prompt, plain_prompt, read_json_edit, read_plain_edit

REFERENCE = "There is a dog."
REQUEST = EditRequest(question="What?", reference=REFERENCE, kind="count", images=(), seed=1)
REFUSED, NOTHING = NoEdit("editor refused"), NoEdit("no edit in the reply")


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ('{"edited": "There is a cat."}', "There is a cat."),
        ('Sure! Here it is:\n```json\n{"edited": "There is a cat."}\n```\nI changed the animal.', "There is a cat."),
        ('First {"edited": "no"}, then rather {"edited": "There is a cat."}', "There is a cat."),
        ('{"thought": {"edited": 3}} {"edited": " A cat. "}', "A cat."),
        ('{"edited": ""}', REFUSED),
        ('{"edited": "I\'m sorry, I cannot do that."}', REFUSED),
        ("I'm sorry, but I can't help with making false statements.", REFUSED),
        ("I cannot assist with that.", REFUSED),
        ("There is a cat.", NOTHING),
        ('{"edited": "There is', NOTHING),
        ('{"edited": null}', NOTHING),
        ("{" * 5000, NOTHING),
        ("", NOTHING),
    ],
)
def test_json_is_found_whatever_stands_around_it(reply: str, read: object) -> None:
    assert read_json_edit(reply) == read


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        (" There is a cat.\n", "There is a cat."),
        ("Here is the rewritten response:\n\nThere is a cat.", "There is a cat."),
        ('"There is a cat."', "There is a cat."),
        ("```\nThere is a cat.\n```", "There is a cat."),
        ("Sorry, I can't do this.", REFUSED),
        ("", NOTHING),
    ],
)
def test_plain_replies_lose_what_is_said_around_the_edit(reply: str, read: object) -> None:
    assert read_plain_edit(reply, REFERENCE) == read


@given(st.text())
def test_no_reply_breaks_the_reading(reply: str) -> None:
    for read in (read_json_edit(reply), read_plain_edit(reply, REFERENCE)):
        assert isinstance(read, NoEdit) or read.strip() == read != ""


def test_the_plain_prompt_is_the_one_the_shipped_base_is_taught() -> None:
    prompt = plain_prompt(REQUEST, "number")
    assert prompt.shared + prompt.tail == (
        "Question: What?\nResponse: There is a dog.\nRewrite the response with one number error."
    )


def test_the_json_prompt_says_what_kind_of_error_and_in_what_form() -> None:
    prompt = json_prompt(REQUEST)
    assert '"count": change one number' in prompt.tail
    assert '{"edited": "<the rewritten answer>"}' in prompt.tail
