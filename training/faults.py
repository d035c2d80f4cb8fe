"""What keeps a critique with the right verdict from being learned from: it is beside the point, or it saw wrongly."""

from typing import Literal, get_args

from training.agreement import contradicts_experts
from training.differences import names_difference
from training.samples import sightings_of
from training.sources import Pair

Fault = Literal["difference not named", "contradicted by experts"]
FAULTS: tuple[Fault, ...] = get_args(Fault)


def find_fault(critique: str, pair: Pair, *, must_name_difference: bool, must_agree_with_experts: bool) -> Fault | None:
    """The first fault of a critique of the pair, of those that are looked for; None if it may be learned from."""
    if must_name_difference and not names_difference(critique, pair):
        return "difference not named"
    if must_agree_with_experts and contradicts_experts(critique, sightings_of(pair)):
        return "contradicted by experts"
    return None
