"""An edit that still follows from its reference is refused."""

from collections.abc import Sequence

import pytest
from PIL import Image

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.engines.in_process import InProcessEngine
from genrm.shipped import base_folder
from training.vapr.verifying import FOLLOWS, Edited, EditVerifier, VerifierChoice, read_verifier

SAME = Edited(question="What?", reference="There are two sofas.", text="There are 2 couches.", images=())
OTHER = Edited(question="What?", reference="There are two sofas.", text="There are 3 sofas.", images=())


class _Says(FakeEngine):
    """Replies what it was told to, and keeps the prompts."""

    def __init__(self, reply: str) -> None:
        super().__init__()
        self.reply, self.prompts = reply, list[Prompt]()

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        self.prompts += prompts
        return [
            Completion(
                text=self.reply, label_logprobs=None, finish_reason="stop", prompt_tokens=1, completion_tokens=1,
                cached_tokens=0,
            )
            for _ in prompts
        ]  # fmt: skip


async def test_rules_refuse_what_says_the_same_and_nothing_else() -> None:
    assert await EditVerifier(VerifierChoice(kind="rules"), None).check([SAME, OTHER]) == [FOLLOWS, None]


async def test_a_verifier_that_is_off_refuses_nothing() -> None:
    assert await EditVerifier(VerifierChoice(kind="off"), None).check([SAME, OTHER]) == [None, None]


async def test_a_model_is_asked_only_about_what_the_rules_let_pass() -> None:
    engine = _Says("Pass")
    checked = await EditVerifier(VerifierChoice(kind="model", prompt="plain"), engine).check([SAME, OTHER])
    assert checked == [FOLLOWS, FOLLOWS]
    [prompt] = engine.prompts
    assert prompt.shared + prompt.tail == (
        "Question: What?\nReference: There are two sofas.\nResponse: There are 3 sofas.\n"
        "Does the response agree with the reference?"
    )


@pytest.mark.parametrize(
    ("reply", "fate"),
    [
        ("Fail", None),
        ("pass.", FOLLOWS),
        ("It may pass, but: Fail", None),
        ("Yes", "verifier unclear"),
        ("", "verifier unclear"),
    ],
)
def test_the_last_pass_or_fail_of_a_reply_counts(reply: str, fate: str | None) -> None:
    assert read_verifier(reply) == fate


async def test_the_shipped_base_answers_the_verifier_s_question_with_pass_or_fail() -> None:
    engine = InProcessEngine(str(base_folder()))
    await engine.start()
    try:
        image = (Image.new("RGB", (224, 224), "white"),)
        edit = Edited(
            question="How many dogs?", reference="There are two dogs.", text="There is one dog.", images=image
        )
        [fate] = await EditVerifier(VerifierChoice(kind="model", prompt="plain"), engine).check([edit])
    finally:
        await engine.close()
    assert fate in (FOLLOWS, None)
