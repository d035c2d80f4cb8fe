"""Checking captions against what rows say is in their images, or else against what vision experts find."""

import asyncio
from collections.abc import Sequence
from typing import Literal

from tqdm import tqdm

from genrm.shipped import expert_folder
from training.policy.chair import CaptionCheck, check_by_evidence, check_by_objects, count_objects
from training.policy.questions import Question
from training.tables import SourceError

ChairBy = Literal["auto", "objects", "experts"]
"""Whom to ask what is in an image: `auto` takes the rows' objects if every row has them, else experts."""


def choose_truth(questions: Sequence[Question], by: ChairBy) -> Literal["objects", "experts"]:
    """Who says what is there. Raises SourceError where `objects` is wanted and a row has none."""
    num_silent = sum(question.objects is None for question in questions)
    if by == "objects" and num_silent:
        raise SourceError(
            f"{num_silent} of {len(questions)} rows do not say what is in their image. Add a field `objects` (a list "
            "of names), or take experts for the truth."
        )
    if by == "auto":
        return "experts" if num_silent else "objects"
    return by


def check_captions(
    captions: Sequence[tuple[Question, str]], *, by: ChairBy, expert: str | None = None
) -> list[tuple[str, CaptionCheck]]:
    """The checks with the images' identities. expert: Grounding DINO folder or hub id; None takes the shipped one.

    Captions whose image an expert failed on are left out. Raises SourceError, ModelLoadError.
    """
    if choose_truth([question for question, _ in captions], by) == "objects":
        return [
            (question.image, check_by_objects(text, count_objects(question.objects or ())))
            for question, text in captions
        ]
    return asyncio.run(_ask_experts(captions, expert))


async def _ask_experts(captions: Sequence[tuple[Question, str]], expert: str | None) -> list[tuple[str, CaptionCheck]]:
    from experts.grounding_dino import GroundingDino
    from experts.panel import ExpertPanel

    panel = ExpertPanel([GroundingDino.load(expert or str(expert_folder()))], timeout_seconds=600)
    checks = []
    try:
        for question, text in tqdm(captions, desc="experts", unit="caption"):
            found = await panel.verify_text(await asyncio.to_thread(question.load_images), text)
            if not found.warnings:  # what an expert that failed has not seen is not absent
                checks.append((question.image, check_by_evidence(text, found.evidence)))
    finally:
        panel.close()
    return checks
