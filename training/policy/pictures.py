"""The plots of one policy's figures."""

from collections.abc import Mapping
from pathlib import Path

from genrm.plots import draw_bars
from training.statistics import Estimate

Nested = Mapping[str, Mapping[str, Mapping[str, Estimate]]]

POPE_DRAWN = ("accuracy", "F1", "yes ratio")
_SHARES = ("CHAIR_s", "CHAIR_i", "coverage", "statements true")


def draw_figures(figures: Nested, folder: Path) -> None:
    """Draw what there is: answers right by group and by kind, POPE by sampling, and captions."""
    qa, pope, captions = (figures.get(task, {}) for task in ("qa", "pope", "captions"))
    for section, name in (("exact", "accuracy"), ("exact by kind", "kinds")):
        if qa.get(section):
            draw_bars(
                {wrap(group): {"exact": estimate} for group, estimate in qa[section].items()},
                folder / f"{name}.png",
                ylabel="answers right",
                title="Questions with one right answer",
            )
    if pope:
        draw_bars(
            {sampling: {name: found[name] for name in POPE_DRAWN if name in found} for sampling, found in pope.items()},
            folder / "pope.png",
            ylabel="share of answers",
            title="POPE",
            reference=0.5,
        )
    shares = {
        wrap(name): {truth: estimate}
        for truth, found in captions.items()
        for name, estimate in found.items()
        if name in _SHARES
    }
    if shares:
        draw_bars(
            shares,
            folder / "captions.png",
            ylabel="share",
            title="Objects in captions (of CHAIR, less is better)",
        )


def wrap(name: str) -> str:
    """A name in lines short enough to stand below a bar."""
    return name.replace("-", "-\n").replace(" ", "\n")
