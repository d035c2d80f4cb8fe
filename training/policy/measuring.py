"""How good a policy is: questions answered right, objects that it says yes to or describes and that are not there.

Asks what `training.policy.questions` makes of a source and turns the answers into figures. The folder then holds every
answer, `report.json` and `report.txt`, plots, and `scores.json`, by which `training.policy.comparing` compares policies
image by image. A job that trains a policy calls `evaluate_policy`; `vl-genrm eval policy` calls `measure_policy`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from training.engines import EngineChoice
from training.evaluation.report import Report
from training.html_report.answered import AnsweredQuestion, choose_answered
from training.html_report.evaluated import leave_report_page
from training.jobs.environment import describe_environment
from training.jobs.files import read_json, write_json
from training.jobs.plan import PlannedStep
from training.jobs.processes import is_first_process, wait_for
from training.policy.answers import says_the_same
from training.policy.asking import Answers, describe_policy, open_answers
from training.policy.captions import ChairBy, check_captions, choose_truth
from training.policy.chair import CaptionCheck, check_by_objects, count_objects, measure_captions
from training.policy.judged import ReferenceJudge, judge_answers, measure_judged
from training.policy.pictures import draw_figures
from training.policy.pope import SAMPLINGS, PopeAnswer, measure_pope, parse_answer
from training.policy.questions import Question, Task
from training.policy.selection import PolicyQuestions, choose_questions
from training.ratios import Ratio
from training.sources import Skipped
from training.statistics import Estimate

RESULT, SCORES = "result.json", "scores.json"
OVERALL = "overall"

Figures = dict[str, dict[str, dict[str, Ratio]]]
"""By task, section and name."""


@dataclass(kw_only=True, slots=True)
class _Counted:
    """What answers come to. checks: of captions, by image. scores: of a judge, by question."""

    figures: Figures = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    checks: dict[str, CaptionCheck] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


class PolicyMeasuring(PolicyQuestions):
    """What a policy is measured on, and how."""

    max_tokens: int = Field(256, ge=1, description="Longest answer.")
    chair_by: ChairBy = Field("auto", description="What captions are checked against: the rows' objects, or experts.")
    expert: str | None = Field(None, description="Grounding DINO folder or hub id; default: the shipped expert.")
    judge: ReferenceJudge | None = Field(None, description="Judge of answers beside references; null: none.")


def evaluate_policy(
    choice: EngineChoice, settings: PolicyMeasuring, folder: Path, *, seed: int = 0
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Estimates by task, section and name, for `result.json` of a job; what cannot be known (no item) is not in it.

    A finished measurement with the same settings is not repeated; a killed one goes on. Of several processes the first
    one measures. Raises as `measure_policy`.
    """
    told = {"policy": describe_policy(choice), "settings": settings.model_dump(mode="json"), "seed": seed}
    if not is_first_process():
        wait_for(folder / RESULT)
    known: dict[str, Any] = read_json(folder / RESULT) or {}
    if known.get("told") != told and is_first_process():
        report = measure_policy(choice, settings, folder, seed=seed)
        known = {"told": told, "figures": _nest(report.sections)}
        write_json(folder / RESULT, known)
    figures: dict[str, dict[str, dict[str, Estimate]]] = known["figures"]
    return figures


def measure_policy(choice: EngineChoice, settings: PolicyMeasuring, folder: Path, *, seed: int = 0) -> Report:
    """Ask, count, and write the report and its plots. seed: of intervals and of POPE's questions.

    Raises SourceError if a task's questions cannot be made, OtherPolicyError if the folder is another policy's,
    ModelLoadError, EngineError.
    """
    chosen = choose_questions(settings, seed=seed)
    sources = settings.model_dump(mode="json", include={"source", "pope", "images"})
    answers = open_answers(choice, folder, max_tokens=settings.max_tokens, sources=sources)
    answers.ask([question for asked in chosen.questions.values() for question in asked])
    counted = _count_all(chosen.questions, answers, settings, folder)
    figures = counted.figures
    write_json(folder / SCORES, {_join(*path): ratio.parts for path, ratio in _walk(figures)})
    report = Report(
        title="Policy",
        settings={**told_settings(choice, settings, seed), "environment": describe_environment()},
        counts=_count_answers(chosen.questions, answers),
        skipped=[*chosen.skipped, *answers.skipped, *counted.skipped],
    )
    for path, ratio in _walk(figures):
        report.sections.setdefault(_join(*path[:2]), {})[path[2]] = ratio.estimate(seed=seed)
    report.save(folder)
    draw_figures(_nest(report.sections), folder)
    leave_report_page(report, folder, lambda: choose_answered(_tell_all(chosen.questions, answers, counted)))
    return report


def told_settings(choice: EngineChoice, settings: PolicyMeasuring, seed: int) -> dict[str, Any]:
    """What a report was made from, its environment aside."""
    return {"policy": describe_policy(choice), "seed": seed, **settings.model_dump(mode="json")}


def plan_policy(settings: PolicyMeasuring, choice: EngineChoice, *, name: str) -> PlannedStep:
    """The measurement as a step of a job. Reads the source, but loads no model."""
    num = sum(len(asked) for asked in choose_questions(settings).questions.values())
    return PlannedStep(
        name=name, detail=f"{num:,} questions", num_tokens=300 * num, seconds=num / choice.readings_per_second
    )


def _count_all(
    questions: Mapping[Task, Sequence[Question]], answers: Answers, settings: PolicyMeasuring, folder: Path
) -> _Counted:
    counted = _Counted()
    figures = counted.figures
    for task, asked in questions.items():
        answered = [(question, answer.text) for question in asked if (answer := answers.find(question)) is not None]
        if task == "qa":
            figures["qa"] = _count_exact(answered) | _count_open_ended(answered)
            if settings.judge is not None:
                scores, counted.skipped = judge_answers(answered, settings.judge, folder)
                counted.scores = {question.id: score for question, score in scores}
                figures["qa"] |= measure_judged(
                    scores, [question.id for question, text in answered if _errs(question, text)]
                )
        elif task == "pope":
            figures["pope"] = _count_pope(answered)
        else:
            checks = check_captions(answered, by=settings.chair_by, expert=settings.expert)
            counted.checks = dict(checks)
            truth = choose_truth([question for question, _ in answered], settings.chair_by)
            figures["captions"] = {f"by {truth}": measure_captions(checks)}
    return counted


def _tell_all(
    questions: Mapping[Task, Sequence[Question]], answers: Answers, counted: _Counted
) -> list[AnsweredQuestion]:
    """All answers as the page shows them."""
    told = []
    for task, asked in questions.items():
        for question in asked:
            if (answer := answers.find(question)) is not None:
                is_right, because = _assess(task, question, answer.text, counted.checks)
                told.append(
                    AnsweredQuestion(
                        task=task,
                        question=question,
                        answer=answer.text,
                        is_cut=answer.is_cut,
                        is_right=is_right,
                        because=because,
                        judged=counted.scores.get(question.id) if task == "qa" else None,
                    )
                )
    return told


def _assess(task: Task, question: Question, text: str, checks: Mapping[str, CaptionCheck]) -> tuple[bool | None, str]:
    """Whether an answer is right by the measure of its task, None where there is none, and why."""
    if task == "pope":
        said = parse_answer(text)
        return said == question.label, f"counts as {said}; {question.label} is right"
    if task == "captions":
        check = checks.get(question.image)
    elif not question.is_open_ended:
        return not _errs(question, text), "" if _errs(question, text) else "says the same as the reference"
    else:
        check = None if question.objects is None else check_by_objects(text, count_objects(question.objects))
        if check is not None:
            return 0 < check.num_claims == check.num_true, f"{check.num_true} of {check.num_claims} statements are true"
    if check is None:
        return None, ""
    return not check.absent, f"names {', '.join(check.absent)}, not there" if check.absent else "names nothing absent"


def _errs(question: Question, text: str) -> bool:
    """Whether the one right answer was not given."""
    return not question.is_open_ended and not says_the_same(text, question.reference or "", question.text)


def _count_exact(answered: Iterable[tuple[Question, str]]) -> dict[str, dict[str, Ratio]]:
    """Exact match by group and by kind, of questions with one right answer."""
    groups: dict[str, Ratio] = {OVERALL: Ratio()}
    kinds: dict[str, Ratio] = {}
    for question, text in answered:
        if not question.is_open_ended:
            is_right = not _errs(question, text)
            for family, name in ((groups, OVERALL), (groups, question.group), (kinds, question.kind)):
                if name:
                    family.setdefault(name, Ratio()).add(question.image, is_right)
    return {"exact": _overall_first(groups), "exact by kind": dict(sorted(kinds.items()))}


def _count_open_ended(answered: Iterable[tuple[Question, str]]) -> dict[str, dict[str, Ratio]]:
    """Of questions with many right answers: those that say something of objects, and only what is true."""
    found: dict[str, Ratio] = {}
    for question, text in answered:
        if question.is_open_ended and question.objects is not None:
            check = check_by_objects(text, count_objects(question.objects))
            is_true = 0 < check.num_claims == check.num_true
            for name in (OVERALL, question.kind):
                if name:
                    found.setdefault(name, Ratio()).add(question.image, is_true)
    return {"objects true, open-ended": _overall_first(found)}


def _count_pope(answered: Iterable[tuple[Question, str]]) -> dict[str, dict[str, Ratio]]:
    """By sampling, and over all of them where there are the three."""
    by_sampling: dict[str, list[PopeAnswer]] = {}
    for question, text in answered:
        assert question.label is not None, "POPE's questions have labels"
        answer = PopeAnswer(image=question.image, label=question.label, text=text)
        by_sampling.setdefault(question.sampling, []).append(answer)
    figures = {name: measure_pope(answers) for name, answers in by_sampling.items()}
    if by_sampling.keys() >= set(SAMPLINGS):
        figures["mean"] = measure_pope([answer for name in SAMPLINGS for answer in by_sampling[name]])
    return figures


def _count_answers(questions: Mapping[Task, Sequence[Question]], answers: Answers) -> dict[str, int | float]:
    counts: dict[str, int | float] = {}
    for task, asked in questions.items():
        found = [answer for question in asked if (answer := answers.find(question)) is not None]
        counts[f"{task}: questions"] = len(asked)
        counts[f"{task}: cut off at max_tokens"] = sum(answer.is_cut for answer in found)
        counts[f"{task}: empty answers"] = sum(not answer.text for answer in found)
    return counts


def _overall_first(figures: Mapping[str, Ratio]) -> dict[str, Ratio]:
    return dict(sorted(figures.items(), key=lambda item: (item[0] != OVERALL, item[0])))


def _walk(figures: Figures) -> Iterable[tuple[tuple[str, str, str], Ratio]]:
    for task, sections in figures.items():
        for section, named in sections.items():
            for name, ratio in named.items():
                yield (task, section, name), ratio


def _join(*path: str) -> str:
    return ": ".join(path)


def _nest(sections: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Sections of a report by task, without figures that rest on nothing."""
    nested: dict[str, dict[str, dict[str, Estimate]]] = {}
    for title, estimates in sections.items():
        task, _, section = title.partition(": ")
        known = {name: estimate for name, estimate in estimates.items() if estimate["num"]}
        if known:
            nested.setdefault(task, {})[section] = known
    return nested
