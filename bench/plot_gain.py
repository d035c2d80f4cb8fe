"""What more preference pairs bring: a curve with intervals over the number of pairs, from the results of studies.

Arms of one or several studies (`vl-genrm train study`) are points of the curve, with the number of pairs that each was
trained on; an arm that is in several is taken from the one with the most seeds.

Run: `python bench/plot_gain.py build/policy/results.json build/policy-parts/results.json --arm base=0 vapr-320=320
vapr=1280 vapr-all=2157 --metric qa.exact.overall pope.mean.accuracy --plot gain.png`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm.plots import draw_lines
from training.statistics import Estimate


def find_points(
    studies: Sequence[Mapping[str, Any]], arms: Mapping[str, float], metric: str
) -> list[tuple[float, Estimate]]:
    """The metric by number of pairs, fewest first. arms: how many pairs each arm has. Ends the program with a message
    if a study has no such arm or figure.
    """
    points = []
    for arm, num_pairs in arms.items():
        found = [study["arms"][arm][metric] for study in studies if metric in study["arms"].get(arm, {})]
        if not found:
            known = sorted({name for study in studies for name in study["arms"]})
            raise SystemExit(f"No study has the figure {metric!r} of an arm {arm!r}; the arms are {', '.join(known)}.")
        points.append((num_pairs, max(found, key=lambda each: len(each["by_seed"]))))
    return sorted(points, key=lambda point: point[0])


def main() -> None:
    """Draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="results.json of studies")
    parser.add_argument("--arm", nargs="+", required=True, metavar="NAME=PAIRS", help="points of the curve")
    parser.add_argument("--metric", nargs="+", required=True, help="figures, a curve each")
    parser.add_argument("--plot", type=Path, required=True, help="the PNG to write")
    options = parser.parse_args()
    studies = [json.loads(file.read_text(encoding="utf-8")) for file in options.results]
    arms = {name: float(number) for name, _, number in (each.partition("=") for each in options.arm)}
    draw_lines(
        {metric: find_points(studies, arms, metric) for metric in options.metric},
        options.plot,
        xlabel="preference pairs",
        ylabel="share",
        title="What more pairs bring",
    )


if __name__ == "__main__":
    main()
