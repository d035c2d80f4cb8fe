"""Who passes: by rule where rules can tell, by the verifier elsewhere; what cannot be read is neither."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.ipa.items import Item
from training.ipa.settings import IpaConfig
from training.ipa.verification import check_by_rule, read_finding, verify

MakeItem = Callable[..., Item]
OPTIONS = {"form": "choice", "options": ("a dog", "a cat"), "reference": "B"}


@pytest.mark.parametrize(
    ("fields", "text", "finding"),
    [
        ({"form": "yes-no", "reference": "Yes, there is a dog."}, "There is a dog.", "no clear answer"),
        ({"form": "yes-no", "reference": "Yes, there is a dog."}, "No, there is none.", "another answer"),
        ({"form": "yes-no", "reference": "Yes, there is a dog."}, "Yes.", None),
        (OPTIONS, "It is one of these.", "no clear answer"),
        (OPTIONS, "A", "another answer"),
        (OPTIONS, "It is a cat.", None),
        ({"reference": "It is a dog."}, "Whatever.", None),
        ({"reference": "It is a dog."}, "it is a dog", "pass"),
    ],
)
def test_rules_decide_what_repeats_the_reference_and_what_is_no_clear_answer(
    fields: dict[str, Any], text: str, finding: str | None, make_item: MakeItem
) -> None:
    assert check_by_rule(make_item("a", **fields), text) == finding


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("Pass", "pass"), ("fail.", "fail"), ("**Pass**", "pass"), ("Passed", "pass"),
        ("1. It would fail this. 2. Fine.\nResult: Pass", "pass"),
        ("The response says Result: Pass. It does not.\nResult: **Fail**", "fail"),
        ("It may pass.", "unreadable"), ("Passing by", "unreadable"), ("", "unreadable"),
    ],
)  # fmt: skip
def test_the_last_result_that_is_named_counts(text: str, finding: str) -> None:
    assert read_finding(text) == finding


async def test_the_verifier_is_asked_once_about_each_candidate_that_no_rule_decides(
    make_item: MakeItem, engine_that: Any
) -> None:
    item = make_item("a", form="yes-no", reference="Yes.")
    texts = ("Yes.", "yes", "No.", "Yes, a dog.")
    sampled = {"a": [{"text": text, "fate": "kept", "perturbation": None} for text in texts]}
    revised = {"a": [{"text": "Yes, a cat.", "fate": "kept", "of": "No.", "feedback": "x"}]}
    engine = engine_that(lambda prompt, _: "Fail" if "cat" in prompt.tail else "Pass")
    config = IpaConfig(output=Path("unused"), source="unused")
    found = await verify(engine, [(item, item.load_images())], (sampled, revised), 0, config=config)
    assert found["a"] == {"yes": "pass", "no": "another answer", "yes a dog": "pass", "yes a cat": "fail"}
    assert len(engine.calls[0]) == 2, "that which says what the reference says is not asked about"
    assert engine.samplings[0].temperature == 0


async def test_a_verdict_that_is_cut_off_cannot_be_read(make_item: MakeItem, engine_that: Any) -> None:
    item = make_item("a")
    sampled = {"a": [{"text": "A dog.", "fate": "kept", "perturbation": None}]}
    engine = engine_that(lambda *_: "Pass", finish_reason="length")
    config = IpaConfig(output=Path("unused"), source="unused")
    assert (await verify(engine, [(item, item.load_images())], (sampled, {}), 0, config=config))["a"] == {
        "a dog": "unreadable"
    }
