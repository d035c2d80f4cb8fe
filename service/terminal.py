"""A verdict as a person reads it in a terminal: who is better, a bar of probabilities, the reasons, and how far to
trust them.
"""

import re
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experts.findings import describe_claim
from genrm.types import Evidence, Finding, Response, describe_found
from service.rerank_schemas import RerankResponse
from service.schemas import JudgeResponse, VerifyResponse

BAR_CELLS = 40
_RANK_CELLS = 20
_COLOURS: dict[Response, str] = {"A": "cyan", "B": "magenta"}
_FINDING_COLOURS: dict[Finding, str] = {
    "supported": "blue",
    "unsupported": "yellow",
    "contradicted": "red",
    "unchecked": "dim",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def render_verdict(verdict: JudgeResponse) -> RenderableType:
    """What is printed for one verdict. Colours and width are the console's business."""
    parts: list[RenderableType] = [_render_headline(verdict)]
    if verdict.probabilities is not None:
        parts.append(render_bar("A", verdict.probabilities.A))
        parts.append(render_bar("B", verdict.probabilities.B))
    if verdict.critique:
        parts.append(Text(f"\n{clean(verdict.critique)}\n"))
    for name, evidence in (("A", verdict.evidence.A), ("B", verdict.evidence.B)):
        parts += [Text.assemble((f"{name} ", "bold"), render_evidence(item)) for item in evidence]
    if verdict.expert_conflict:
        parts.append(Text("The vision experts support the other response.", style="yellow"))
    parts += [Text(clean(warning), style="yellow") for warning in verdict.warnings]
    parts.append(Text(_describe_trust(verdict), style="dim"))
    return Group(*parts)


def render_verification(found: VerifyResponse) -> RenderableType:
    """What is printed for one verification: one line per claim, then how far to trust it."""
    parts: list[RenderableType] = [render_evidence(item) for item in found.evidence]
    if not parts:
        parts.append(Text("The text claims no object that is known.", style="yellow"))
    facts = [f"experts {', '.join(found.experts)}", f"{found.timings_ms.total:.0f} ms"]
    if found.support is not None:
        facts.insert(0, f"support {found.support:.2f}")
    parts.append(Text(clean(" · ".join(facts)), style="dim"))
    parts += [Text(clean(warning), style="yellow") for warning in found.warnings]
    return Group(*parts)


def render_ranking(ranking: RerankResponse, texts: Sequence[str]) -> RenderableType:
    """What is printed for a ranking: a line per candidate, best first, then how far to trust it. texts: as sent."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "better than another", "won", "lost", "drawn", "answer"):
        table.add_column(name, justify="right" if name in ("", "won", "lost", "drawn") else "left")
    for place, result in enumerate(ranking.results, 1):
        filled = round(result.relevance_score * _RANK_CELLS)
        bar = Text.assemble(
            ("█" * filled, "cyan" if place == 1 else ""),
            ("░" * (_RANK_CELLS - filled), "dim"),
            f" {result.relevance_score:6.1%}",
        )
        counts = (str(number) for number in (result.wins, result.losses, result.ties))
        table.add_row(str(place), bar, *counts, Text(clean(texts[result.index])))
    facts = [f"{ranking.strategy}, {ranking.judgements} judgements"]
    if ranking.consistency is not None:
        facts.append(f"both orders agree in {ranking.consistency:.0%}")
    if ranking.abstained:
        facts.append(f"{ranking.abstained} without a verdict")
    if ranking.cycles:
        facts.append(f"preferences run in a circle among {len(ranking.cycles[0])} answers")
    facts += [f"model {ranking.model}", f"{ranking.timings_ms.total:.0f} ms"]
    warnings = [Text(clean(warning), style="yellow") for warning in ranking.warnings]
    return Group(table, *warnings, Text(clean(" · ".join(facts)), style="dim"))


def render_evidence(item: Evidence) -> Text:
    """One line: what is claimed, the finding, how many objects were found, and how probable the claim is."""
    found = [f"found {describe_found(item)}"] if item.kind == "object" else []
    sure = [] if item.probability is None else [f"P {item.probability:.2f}"]
    return Text.assemble(
        (f"{clean(describe_claim(item))}: ", "bold"),
        (item.finding, _FINDING_COLOURS[item.finding]),
        f" ({', '.join(found + sure)})" if found or sure else "",
    )


def render_bar(response: Response, probability: float) -> Text:
    """One line: the response's name, a bar of 40 cells, and the probability (0 to 1) in percent."""
    filled = round(probability * BAR_CELLS)
    return Text.assemble(
        (f"{response} ", "bold"),
        ("█" * filled, _COLOURS[response]),
        ("░" * (BAR_CELLS - filled), "dim"),
        f" {probability:6.1%}",
    )


def clean(text: str) -> str:
    """`text` without control characters, which could move a terminal's cursor or recolour what follows."""
    return _CONTROL.sub("", text)


def _render_headline(verdict: JudgeResponse) -> Text:
    if verdict.preferred is not None:
        return Text(f"{verdict.preferred} is better", style=f"bold {_COLOURS[verdict.preferred]}")
    name = "Tie" if verdict.status == "tie" else "No verdict"
    return Text(f"{name}: {clean(verdict.reason)}" if verdict.reason else name, style="bold yellow")


def _describe_trust(verdict: JudgeResponse) -> str:
    orders = {
        True: "both orders agree",
        False: "the two orders disagree",
        None: "an order is without verdict",
    }[verdict.consistent]
    facts = [orders, f"confidence {verdict.confidence:.2f}", f"label mass {verdict.label_mass:.2f}"]
    if verdict.probability_source == "votes":
        facts.append("probability from votes")
    facts += [f"model {verdict.model}", f"{verdict.timings_ms.total:.0f} ms"]
    return " · ".join(facts)
