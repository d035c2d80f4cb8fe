"""Which questions a policy is asked: the tasks that are wanted, or those for which a source has what they need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from training.jobs.config import Section
from training.policy.questions import (
    Question,
    Row,
    Task,
    ask_captions,
    ask_pope_of_objects,
    ask_published_pope,
    ask_references,
    read_rows,
)
from training.sources import Skipped, log_skipped
from training.tables import SourceError


class PolicyQuestions(Section):
    """Where the questions come from, and how many."""

    source: str = Field(description="Rows with question and reference, perhaps with objects; or rows of POPE.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    tasks: tuple[Task, ...] = Field((), description="qa, pope, captions; default: all that the source has rows for.")
    limit: int | None = Field(None, ge=1, description="Read this many rows of the source at most.")
    pope: str | None = Field(None, description="Source of rows as POPE publishes them; default: made of the objects.")
    pope_images: int = Field(200, ge=1, description="Images that POPE's questions are made for.")
    pope_pairs: int = Field(
        1, ge=1, description="Per image, objects asked for that are there, and as many absent ones of each sampling."
    )
    num_captions: int = Field(100, ge=1, description="Images that are described.")
    caption_question: str = Field("Describe the image in detail.", min_length=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The questions of each task, and rows that were left out."""

    questions: Mapping[Task, Sequence[Question]]
    skipped: Sequence[Skipped]


def choose_questions(settings: PolicyQuestions, *, seed: int = 0) -> Chosen:
    """What is asked. seed: of the objects that POPE asks for. Raises SourceError if a wanted task has no question."""
    rows = read_rows(settings.source, images=settings.images, limit=settings.limit)
    is_pope = all(row.label is not None for row in rows)
    references, skipped = ([], []) if is_pope else ask_references(rows)
    found: dict[Task, list[Question]] = {
        "qa": references,
        "pope": _ask_pope(rows, settings, seed=seed),
        "captions": ask_captions(rows, settings.caption_question, num=settings.num_captions),
    }
    wanted = settings.tasks or tuple(
        task for task, asked in found.items() if asked and not (is_pope and task != "pope")
    )
    for task in wanted:
        if not found[task]:
            source = settings.pope if task == "pope" and settings.pope is not None else settings.source
            raise SourceError(_explain(task, source))
    if "qa" not in wanted:
        skipped = []
    log_skipped(skipped)
    return Chosen(questions={task: found[task] for task in wanted}, skipped=skipped)


def _ask_pope(rows: Sequence[Row], settings: PolicyQuestions, *, seed: int) -> list[Question]:
    if settings.pope is not None:
        return ask_published_pope(read_rows(settings.pope, images=settings.images))
    published = ask_published_pope(rows)
    return published or ask_pope_of_objects(
        rows, num_images=settings.pope_images, pairs_per_image=settings.pope_pairs, seed=seed
    )


def _explain(task: Task, source: str) -> str:
    needs = {
        "qa": "question (or query, prompt) and reference (or ground_truth, answer)",
        "pope": "objects (a list of names), or text and label (yes or no) as POPE publishes them",
        "captions": "image",
    }
    return (
        f"No row of {source} has what the task {task} needs: {needs[task]}. Drop the task, or "
        "name a source that has it."
    )
