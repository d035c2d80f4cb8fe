"""Who establishes what is in the images of preference data: the settings of a job, and the experts that they name."""

import sys
from typing import Self

from pydantic import Field, model_validator

from experts.contract import Expert
from experts.panel import ExpertPanel
from genrm.shipped import expert_folder, policy_folder
from training.jobs.config import Section


class Experts(Section):
    """Who establishes what is in an image."""

    models: tuple[str, ...] = Field(
        ("shipped",),
        description="Grounding DINO folders or hub ids, or shipped; without any expert nothing is filtered.",
    )
    statements: str | None = Field(
        None,
        min_length=1,
        description="Folder or hub id of a model that checks what detectors cannot, whole sentences, or shipped.",
    )
    miss_rate: float = Field(0.0, ge=0, le=1, description="Injected misses, for studies of noisy experts.")
    false_alarm_rate: float = Field(0.0, ge=0, le=1, description="Injected false alarms, for the same.")

    @property
    def are_asked(self) -> bool:
        """Whether there are any."""
        return bool(self.models) or self.statements is not None

    @property
    def model_names(self) -> tuple[str, ...]:
        """Detectors and the checker of statements, the shipped ones filled in."""
        checkers = () if self.statements is None else (self.statements,)
        return (
            *(str(expert_folder()) if model == "shipped" else model for model in self.models),
            *(str(policy_folder()) if model == "shipped" else model for model in checkers),
        )

    @property
    def plan_notes(self) -> tuple[str, ...]:
        """What a plan does not know about them."""
        return () if self.statements is None else ("What reading statements takes depends on that model: not counted.",)

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        if not self.models and (self.miss_rate or self.false_alarm_rate):
            raise ValueError("miss_rate and false_alarm_rate are of detectors, and models names none")
        return self


def open_panel(experts: Experts, *, seed: int = 0) -> ExpertPanel | None:
    """The experts of a job, loaded; None for none."""
    if not experts.are_asked:
        return None
    from experts.grounding_dino import GroundingDino
    from experts.noisy import NoisyExpert

    opened: list[Expert] = []
    for number, model in enumerate(experts.model_names[: len(experts.models)]):
        expert: Expert = GroundingDino.load(model, name=f"grounding-dino-{number + 1}")
        if experts.miss_rate or experts.false_alarm_rate:
            expert = NoisyExpert(
                expert, miss_rate=experts.miss_rate, false_alarm_rate=experts.false_alarm_rate, seed=seed
            )
        opened.append(expert)
    checkers = []
    if experts.statements is not None:
        from experts.likelihood_checker import LikelihoodChecker

        checkers.append(LikelihoodChecker.load(experts.statements))
    # Nobody waits for an answer, and a pair that was not fully examined is lost: no limit that a slow machine meets.
    return ExpertPanel(opened, checkers=checkers, timeout_seconds=3600, max_statements=sys.maxsize)
