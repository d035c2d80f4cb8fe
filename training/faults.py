"""What keeps a critique with the right verdict from being learned from: it is beside the point, or it saw wrongly."""

from typing import Literal, Protocol, get_args

from training.agreement import contradicts_experts
from training.differences import names_difference
from training.samples import sightings_of
from training.sources import Pair

Fault = Literal["difference not named", "contradicted by experts"]
FAULTS: tuple[Fault, ...] = get_args(Fault)


class Demands(Protocol):
    """What a job asks of critiques."""

    @property
    def must_name_difference(self) -> bool:
        """Whether a critique must repeat words in which the responses differ."""

    @property
    def must_agree_with_experts(self) -> bool:
        """Whether a critique must say nothing that experts contradict."""


def find_fault(critique: str, pair: Pair, demands: Demands) -> Fault | None:
    """The first fault of a critique of the pair; None if it may be learned from."""
    if demands.must_name_difference and not names_difference(critique, pair):
        return "difference not named"
    if demands.must_agree_with_experts and contradicts_experts(critique, sightings_of(pair)):
        return "contradicted by experts"
    return None
