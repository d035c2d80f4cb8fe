"""What goes over the wire of OpenRLHF's remote reward model: its request, its answer, and what a label may hold.

Read from `openrlhf/utils/agent.py` (0.11.0) and `openrlhf/utils/remote_rm_utils.py` (0.8, LMM-R1, OpenRLHF-M): three
lists of one length, a row per completion. `labels` are the dataset's, so they are whatever it has.
"""

from typing import Any

from pydantic import Field

from genrm.types import WireModel


class RewardRequest(WireModel):
    """Completions of a policy, several of one prompt among them."""

    query: tuple[str, ...] = Field(description="Prompt and completion of each row, with the policy's chat template.")
    prompts: tuple[str, ...] = Field(
        description="The prompt of each row: its text, or the JSON text of a conversation whose parts of type `image` "
        "hold data URLs (LMM-R1, OpenRLHF-M)."
    )
    labels: tuple[Any, ...] | None = Field(
        default=None,
        description="The label of each row. If it is an object, or a JSON text of one, its `image` or `images` (data "
        "URLs), `question` and `reference` (an answer to compare with) are read. Any other label is ignored.",
    )


class RewardLogs(WireModel):
    """A value per row, which the trainer logs."""

    genrm_abstained: tuple[float, ...] = Field(
        description="Share of the judgements about the row's prompt without a verdict; they count as draws."
    )
    genrm_alone: tuple[float, ...] = Field(
        description="1 for a row without any other completion or reference to compare with: its reward of 0.5 says "
        "nothing."
    )


class RewardResponse(WireModel):
    """A reward per row, in the order of the request. OpenRLHF knows no missing reward."""

    rewards: tuple[float, ...] = Field(
        description="Probability of being better than another answer to the same prompt drawn at random, in [0, 1]."
    )
    scores: tuple[float, ...] = Field(description="The same; OpenRLHF filters prompts by it.")
    extra_logs: RewardLogs | None = Field(description="Left out with `extra_logs=false`, for OpenRLHF-M.")
