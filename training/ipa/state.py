"""How far every item is: in which round it passed, or that it is still hard.

`items.jsonl` has a line per item, written anew after every round from what the rounds wrote down. An item passes in
the first round in which one of its candidates passes; later rounds do not ask about it again.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from training.ipa.items import Item
from training.jobs.files import write_text
from training.jobs.run_folder import RunFolder

ITEMS = "items.jsonl"
STATES = ("passed in round 1", "passed in round 2", "passed in round 3", "still hard", "image unreadable")


@dataclass(kw_only=True, slots=True)
class ItemState:
    """State of one item. passed_in: round; None while it is hard. rounds: per round it was in, how many candidates it
    had, how many passed and failed, how many pairs it gave; none at all if its pictures cannot be read.
    """

    id: str
    group: str
    form: str
    was_opened: bool
    passed_in: int | None = None
    rounds: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """In words, for the table."""
        if not self.rounds:
            return "image unreadable"
        return "still hard" if self.passed_in is None else f"passed in round {self.passed_in}"


def outcomes_file(number: int) -> str:
    """Where a round writes what came of it, a line per shard: `items` (counts by item id) and `counts`."""
    return f"round-{number}/outcomes.jsonl"


def read_states(folder: RunFolder, items: Sequence[Item], *, last_round: int) -> list[ItemState]:
    """The states of all items after a round, in their order. last_round: 0 is before the first."""
    states = {
        item.id: ItemState(id=item.id, group=item.group, form=item.form, was_opened=item.was_opened) for item in items
    }
    for number in range(1, last_round + 1):
        for line in folder.read_lines(outcomes_file(number)):
            for name, counts in line["items"].items():
                state = states[name]
                state.rounds[str(number)] = counts
                if counts["passed"] and state.passed_in is None:
                    state.passed_in = number
    return list(states.values())


def write_states(folder: RunFolder, states: Sequence[ItemState]) -> None:
    """Replace `items.jsonl`."""
    lines = (json.dumps({**asdict(each), "state": each.state}, ensure_ascii=False) for each in states)
    write_text(folder.path / ITEMS, "".join(f"{line}\n" for line in lines))


def hard_items(items: Sequence[Item], states: Sequence[ItemState]) -> list[Item]:
    """The items that were asked about and for which no candidate passed."""
    return [item for item, state in zip(items, states, strict=True) if state.state == "still hard"]


def count_states(states: Sequence[ItemState], *, after_round: int) -> dict[str, int]:
    """How many items were in which state after a round."""
    counts: Counter[str] = Counter()
    for state in states:
        later = state.passed_in is not None and state.passed_in > after_round
        counts["still hard" if later else state.state] += 1
    return {name: counts[name] for name in STATES if counts[name]}
