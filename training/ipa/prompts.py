"""All that IPA asks of a model, in two wordings.

`short` is what small models are taught and general ones understand. `full` spells out what is wanted: what feedback
looks for, and the four criteria by which an answer is verified. IPA (arXiv 2503.20309) names the criteria; its prompts
are not published, so every wording is ours. Verdicts are read by `training.ipa.verification`.
"""

from collections.abc import Sequence
from typing import Literal

from PIL.Image import Image

from genrm.engines.contract import Prompt
from genrm.prompts import neutralise

PromptStyle = Literal["short", "full"]

_FEEDBACK = {
    "short": "Criticise the response.",
    "full": "Criticise the response. Compare each of its statements with the image and name what the image shows "
    "otherwise. Then name what the question asks for and the response lacks, or says without the detail that the task "
    "needs. Do not write a new response.",
}
_GUIDED_FEEDBACK = {
    "short": _FEEDBACK["short"],
    "full": _FEEDBACK["full"] + " Use the reference to find the errors, and do not mention it.",
}
_REVISION = {
    "short": "Revise the response.",
    "full": "Revise the response. Correct what the feedback says is wrong, add what it says is missing, and keep the "
    "rest. Write the revised response and nothing else.",
}
_VERIFICATION = {
    "short": "Does the response agree with the reference?",
    "full": """Does the response agree with the reference? Check four criteria:
1. Logical entailment: what the reference says follows from the response.
2. Detail completeness: no detail of the reference that the question asks for is missing.
3. No contradiction: nothing in the response contradicts the reference or the image.
4. Instruction adherence: the response does what the question asks, in the form that it asks for.
Further detail that has to do with the question is allowed. A question with options, or for yes or no, needs a clear \
answer.
Say briefly whether each criterion holds, then end with "Result: Pass" if all four do, with "Result: Fail" if not.""",
}
_GUIDED_SAMPLING = {
    "short": "Hint, not to be mentioned: the answer is {reference}",
    "full": "A reference answer is: {reference}\nAnswer the question in your own words, and do not mention it.",
}


def ask_question(images: Sequence[Image], question: str) -> Prompt:
    """The question as it is."""
    return _make(images, neutralise(question), "")


def ask_with_reference(style: PromptStyle, images: Sequence[Image], question: str, reference: str) -> Prompt:
    """The question with its answer in view (reference-guided sampling)."""
    hint = _GUIDED_SAMPLING[style].format(reference=neutralise(reference))
    return _make(images, neutralise(question), f"\n{hint}")


def ask_feedback(
    style: PromptStyle, images: Sequence[Image], question: str, response: str, *, reference: str | None = None
) -> Prompt:
    """What is wrong with a response and what it lacks. reference: in view if given (reference-guided feedback)."""
    wanted = _FEEDBACK if reference is None else _GUIDED_FEEDBACK
    return _make(images, _head(question, reference), f"Response: {neutralise(response)}\n{wanted[style]}")


def ask_revision(style: PromptStyle, images: Sequence[Image], question: str, response: str, feedback: str) -> Prompt:
    """The response as it should have been."""
    tail = f"Response: {neutralise(response)}\nFeedback: {neutralise(feedback)}\n{_REVISION[style]}"
    return _make(images, _head(question, None), tail)


def ask_verification(
    style: PromptStyle, images: Sequence[Image], question: str, reference: str, response: str
) -> Prompt:
    """Whether a response passes, with the reference in view."""
    return _make(images, _head(question, reference), f"Response: {neutralise(response)}\n{_VERIFICATION[style]}")


def _head(question: str, reference: str | None) -> str:
    seen = "" if reference is None else f"Reference: {neutralise(reference)}\n"
    return f"Question: {neutralise(question)}\n{seen}"


def _make(images: Sequence[Image], shared: str, tail: str) -> Prompt:
    return Prompt(system="", images=tuple(images), shared=shared, tail=tail)
