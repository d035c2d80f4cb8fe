"""Examples of a policy's answers: wrong ones first, then those that cannot be told, then right ones.

Tasks take turns, so that no task hides another one. Where a judge compared answers with references, the answers that it
likes least come first within their task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from training.html_report.cases import Case, Group, Said, allot
from training.html_report.judged import QUOTAS
from training.policy.questions import Question

_TASKS = {"qa": "a question with a reference", "pope": "POPE, an object", "captions": "a caption"}


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredQuestion:
    """A question and what a policy said. is_right: None where nobody can tell. because: why it is what it is.

    judged: how probably a judge finds the answer better than the reference, in [0, 1]; None if it was not asked.
    """

    task: str
    question: Question
    answer: str
    is_cut: bool
    is_right: bool | None
    because: str = ""
    judged: float | None = None


def choose_answered(answered: Sequence[AnsweredQuestion]) -> list[Group]:
    """The groups of a page."""
    kinds = [[each for each in answered if each.is_right is value] for value in (False, None, True)]
    taken = allot([len(kind) for kind in kinds], QUOTAS)
    cases = [[_make_case(one) for one in _take_turns(kind)[:num]] for kind, num in zip(kinds, taken, strict=True)]
    wrong, untold, right = (len(kind) for kind in kinds)
    return [
        Group(title="Wrong", tone="bad", num=wrong, cases=cases[0], note="tasks take turns"),
        Group(title="Not checked", tone="open", num=untold, cases=cases[1], note="no truth to compare with"),
        Group(title="Right", tone="good", num=right, cases=cases[2], note="tasks take turns"),
    ]


def _take_turns(answered: Sequence[AnsweredQuestion]) -> list[AnsweredQuestion]:
    tasks: dict[str, list[AnsweredQuestion]] = {}
    for one in answered:
        tasks.setdefault(one.task, []).append(one)
    columns = [sorted(each, key=lambda one: 1.0 if one.judged is None else one.judged) for each in tasks.values()]
    return [one for one in chain.from_iterable(zip_longest(*columns)) if one is not None]


def _make_case(one: AnsweredQuestion) -> Case:
    question = one.question
    reference = question.reference or (question.label and question.label.capitalize())
    said = [Said(name="Answer of the policy", text=one.answer or "(empty)", marks=("cut off",) if one.is_cut else ())]
    if reference:
        said.append(Said(name="Reference", text=reference, marks=("one of many",) if question.is_open_ended else ()))
    facts: Mapping[str, str | None] = {
        "Task": _TASKS.get(one.task, one.task),
        "Group": question.group,
        "Kind": question.kind,
        "Sampling": question.sampling if one.task == "pope" else "",
        "Objects in the picture": ", ".join(question.objects or ()),
        "Judge: answer better than reference": None if one.judged is None else f"P = {one.judged:.3f}",
    }
    outcome = {False: "Wrong", None: "Not checked", True: "Right"}[one.is_right]
    return Case(
        id=question.id,
        outcome=f"{outcome}: {one.because}" if one.because else outcome,
        question=question.text,
        said=tuple(said),
        load_images=question.load_images,
        facts={name: value for name, value in facts.items() if value},
    )
