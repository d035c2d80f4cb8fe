"""Settings of `vl-genrm train ipa`."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from training.dpo_training import DpoTraining
from training.engines import PolicyChoice
from training.ipa.perturbations import Perturbations
from training.ipa.prompts import PromptStyle
from training.jobs.config import JobConfig, Section


class Sampled(Section):
    """First answers, and those to perturbed pictures."""

    per_item: int = Field(4, ge=1, description="n: answers per question and generator, and as many contrastive ones.")
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(512, ge=1)


class Revision(Section):
    """Feedback and the answers that follow it."""

    feedbacks_per_response: int = Field(
        2, ge=0, description="Feedback texts per different response; with one there are no pairs of feedback, 0: none."
    )
    temperature: float = Field(1.0, ge=0, description="Of the feedback.")
    revision_temperature: float = Field(0.0, ge=0, description="Of the revised answers.")
    max_tokens: int = Field(512, ge=8)


class Verification(Section):
    """Who passes."""

    max_tokens: int = Field(256, ge=2)


class Caps(Section):
    """How much one item may give."""

    pairs_per_item: int = Field(4, ge=1, description="Preference pairs per item, round over round anew.")
    feedback_pairs_per_item: int = Field(4, ge=0, description="The same for pairs of feedback.")


class IpaConfig(JobConfig):
    """Settings of the job."""

    harmless = frozenset(
        {
            "output",
            *(f"{who}.{key}" for who in ("reviser", "verifier") for key in ("max_batch_tokens", "readings_per_second")),
            "training.micro_batch_size",
            "training.pairs_per_second",
        }
    )

    source: str = Field(description="Rows with image, question and reference; see `training.tables`.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    limit: int | None = Field(None, ge=1, description="Read this many rows at most.")
    generators: tuple[PolicyChoice, ...] = Field((PolicyChoice(),), min_length=1, description="Who answers.")
    reviser: PolicyChoice = Field(PolicyChoice(), description="Who writes feedback and revises.")
    verifier: PolicyChoice = Field(PolicyChoice(), description="Who verifies with the reference in view; not trained.")
    prompts: PromptStyle = Field("short", description="short: as small models are taught; full: with all criteria.")
    rounds: int = Field(3, ge=1, le=3)
    contrastive: bool = Field(default=True, description="Whether answers to perturbed pictures are sampled as well.")
    reference_guided: Literal["feedback", "sampling"] = Field(
        "feedback", description="What has the reference in view in round 3; sampling is the paper's counter-example."
    )
    perturbations: Perturbations = Perturbations()
    sampled: Sampled = Sampled()
    revision: Revision = Revision()
    verification: Verification = Verification()
    open_ended_share: float = Field(
        0.5, ge=0, le=1, description="Share of the multiple-choice questions that lose their options."
    )
    max_words: int = Field(150, ge=1, description="Longer responses are dropped.")
    caps: Caps = Caps()
    start: Literal["base", "previous"] = Field(
        "base",
        description="What a training begins with: the models of round 1, on all pairs so far, or those of the round "
        "before, on that round's.",
    )
    training: DpoTraining = Field(DpoTraining(), description="Of generators and reviser, between rounds.")
    items_per_shard: int = Field(64, ge=1, description="Items asked about together.")

    @model_validator(mode="after")
    def _check_revision(self) -> Self:
        if self.rounds == 3 and self.reference_guided == "feedback" and not self.revision.feedbacks_per_response:
            raise ValueError(
                "without feedback there is none for a reference to guide; set rounds to 2, reference_guided to "
                "sampling, or revision.feedbacks_per_response to 1 or more"
            )
        return self
