"""HTML of what the page shows: verdicts, readings, errors, rankings, progress. Pure functions from values to text.

All that came from a visitor or a model is escaped here, control characters are shown as pictures of themselves, and
what a colour says a word or a sign says too. Colours are names of the style sheet (`service.playground.style`).
"""

import re
from collections.abc import Sequence
from html import escape

from experts.findings import FINDING_MEANINGS, FINDING_SIGNS, NO_CLAIMS, describe_claim, describe_ground
from genrm.types import Evidence, Probabilities, Reading, Response
from service.exchange import ServiceError
from service.rerank_schemas import RerankResponse
from service.schemas import JudgeResponse
from service.verdict_words import describe_agreement, describe_outcome

_STAGES = ("queue", "media", "experts", "engine", "total")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


def show_text(text: str) -> str:
    """A text as HTML that shows it and does nothing else; control characters become visible."""
    return escape(_CONTROL.sub(lambda match: chr(0x2421 if match[0] == "\x7f" else 0x2400 + ord(match[0])), text))


def render_note(title: str, text: str, *, kind: str = "info") -> str:
    """A short message. kind: `info`, `busy`, `error`, `tie` or `abstained`."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="vg-note vg-{kind}" role="{role}"><strong>{show_text(title)}</strong> {show_text(text)}</div>'


def render_error(error: ServiceError) -> str:
    """What the service answered instead, in its own words."""
    return render_note("The service said no." if error.status else "That did not work.", error.message, kind="error")


def render_pause(error: ServiceError, seconds: int, num_tries: int) -> str:
    """That the service is busy and when it is asked again."""
    return render_note(
        "The service is busy.",
        f"Trying again in {seconds} s (try {num_tries + 1}). It said: {error.message}",
        kind="busy",
    )


def render_critiques(texts: dict[Response, str], *, is_writing: bool) -> str:
    """Both readings while they are written. texts: critique so far by which response stood first."""
    parts = []
    for first in ("A", "B"):
        second = "B" if first == "A" else "A"
        text = show_text(texts.get(first, "")) or '<span class="vg-dim">…</span>'
        cursor = '<span class="vg-cursor" aria-hidden="true"></span>' if is_writing else ""
        parts.append(
            f'<section class="vg-reading"><h4>Reading with {first} first, {second} second</h4>'
            f'<p class="vg-critique">{text}{cursor}</p></section>'
        )
    return f'<div class="vg-readings" aria-busy="{str(is_writing).lower()}">{"".join(parts)}</div>'


def render_verdict(verdict: JudgeResponse) -> str:
    """The verdict: who is better, how likely, whether both orders agree, and where the time went."""
    parts = [_render_headline(verdict)]
    if verdict.probabilities is not None:
        parts.append(_render_bar(verdict.probabilities))
    if verdict.margin is not None:
        parts.append(
            f'<p class="vg-dim">Margin P(A) − P(B) = {verdict.margin:+.3f} · confidence {verdict.confidence:.3f} · '
            f"label mass {verdict.label_mass:.3f}</p>"
        )
    parts.append(_render_orders(verdict))
    if verdict.expert_conflict:
        parts.append(
            render_note("The experts disagree.", "They support the other response clearly better.", kind="busy")
        )
    parts += [render_note("Note:", warning, kind="busy") for warning in verdict.warnings]
    timings = " · ".join(f"{name} {getattr(verdict.timings_ms, name):.0f} ms" for name in _STAGES)
    parts.append(f'<p class="vg-dim">Time: {timings}</p>')
    return f'<div class="vg-verdict" role="status">{"".join(parts)}</div>'


def _render_headline(verdict: JudgeResponse) -> str:
    title, sentence = describe_outcome(verdict)
    if verdict.preferred is None:
        return render_note(title, sentence, kind=verdict.status)
    return (
        f'<h3 class="vg-headline"><span class="vg-badge vg-{verdict.preferred}">{verdict.preferred}</span> '
        f"{title}, {sentence}</h3>"
    )


def _render_bar(probabilities: Probabilities) -> str:
    a, b = probabilities.A, probabilities.B
    return (
        f'<div class="vg-bar" role="img" aria-label="P(A) is {a:.1%}, P(B) is {b:.1%}">'
        f'<span class="vg-A" style="width:{100 * a:.2f}%"></span>'
        f'<span class="vg-B" style="width:{100 * b:.2f}%"></span>'
        f'<i class="vg-middle"></i></div>'
        f'<div class="vg-ends"><span>A {a:.1%}</span><span>B {b:.1%}</span></div>'
    )


def _render_orders(verdict: JudgeResponse) -> str:
    sign, title, sentence = describe_agreement(verdict)
    kind = "good" if verdict.consistent else "bad"
    agree = f'<strong class="vg-{kind}">{sign} {title}</strong> {sentence}'
    rows = "".join(_render_order(reading) for reading in verdict.readings)
    table = (
        f'<table class="vg-table"><thead><tr><th scope="col">read first</th><th scope="col">P(A)</th>'
        f'<th scope="col">P(B)</th><th scope="col">prefers</th></tr></thead><tbody>{rows}</tbody></table>'
        if rows
        else ""
    )
    return f'<section class="vg-orders"><p>{agree}</p>{table}</section>'


def _render_order(reading: Reading) -> str:
    found = reading.probabilities
    if found is None:
        return f'<tr><th scope="row">{reading.first}</th><td>–</td><td>–</td><td>no verdict</td></tr>'
    prefers = "neither" if found.A == found.B else "A" if found.A > found.B else "B"
    return (
        f'<tr><th scope="row">{reading.first}</th><td>{found.A:.1%}</td><td>{found.B:.1%}</td><td>{prefers}</td></tr>'
    )


def render_claims(name: str, text: str, evidence: Sequence[Evidence]) -> str:
    """A response and, as one line each, what the experts say about its claims. name: its heading."""
    items = "".join(_render_claim(item) for item in evidence)
    claims = f'<ul class="vg-claims">{items}</ul>' if items else f'<p class="vg-dim">{NO_CLAIMS}</p>'
    said = f"<h4>{show_text(name)}</h4><blockquote>{show_text(text)}</blockquote>"
    return f'<section class="vg-side">{said}{claims}</section>'


def _render_claim(item: Evidence) -> str:
    ground = describe_ground(item)
    return (
        f'<li class="vg-claim vg-{item.finding}"><span class="vg-sign" aria-hidden="true">{FINDING_SIGNS[item.finding]}'
        f"</span><span><strong>{show_text(describe_claim(item))}</strong>: {item.finding}"
        f'<span class="vg-dim">{f" – {ground}" if ground else ""}</span></span></li>'
    )


def render_legend() -> str:
    """What the four findings mean."""
    items = "".join(
        f'<li class="vg-claim vg-{finding}"><span class="vg-sign" aria-hidden="true">{sign}</span>'
        f"<span><strong>{finding}</strong>: {FINDING_MEANINGS[finding]}</span></li>"
        for finding, sign in FINDING_SIGNS.items()
    )
    return (
        '<details class="vg-legend"><summary>What the colours mean</summary>'
        f'<ul class="vg-claims">{items}</ul></details>'
    )


def render_ranking(ranking: RerankResponse, candidates: Sequence[str]) -> str:
    """The candidates, best first, with scores and results."""
    rows = "".join(
        f'<tr><th scope="row">{place}</th><td>{show_text(candidates[each.index])}</td>'
        f'<td><span class="vg-meter" aria-hidden="true"><span style="width:{100 * each.relevance_score:.1f}%"></span>'
        f"</span> {each.relevance_score:.3f}</td><td>{each.wins}</td><td>{each.losses}</td><td>{each.ties}</td></tr>"
        for place, each in enumerate(ranking.results, 1)
    )
    agree = "–" if ranking.consistency is None else f"{ranking.consistency:.0%}"
    cycles = (
        render_note(
            "A circle:", "some candidates are preferred to each other in a circle; their order is loose.", kind="busy"
        )
        if ranking.cycles
        else ""
    )
    best = show_text(candidates[ranking.results[0].index]) if ranking.results else ""
    return (
        f'<h3 class="vg-headline">Best: {best}</h3>{cycles}'
        '<div class="vg-scroll" tabindex="0" role="region" aria-label="Ranking"><table class="vg-table"><thead><tr>'
        '<th scope="col">place</th><th scope="col">candidate</th><th scope="col">score</th><th scope="col">won</th>'
        f'<th scope="col">lost</th><th scope="col">tied</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="vg-dim">Score: probability of being better than another candidate drawn at random. '
        f"{ranking.judgements} judgements ({ranking.strategy}), both orders agreed in {agree}; "
        f"{ranking.timings_ms.total / 1000:.1f} s.</p>"
    )


def render_matrix(ranking: RerankResponse, candidates: Sequence[str]) -> str:
    """A heat map: probability that the row's candidate is better than the column's; blank where nobody was asked."""
    chances = {(one.one, one.other): one.probability for one in ranking.matches}
    chances |= {(one.other, one.one): 1 - one.probability for one in ranking.matches}
    order = [each.index for each in ranking.results]
    heads = "".join(f'<th scope="col" title="{show_text(candidates[i])}">{i + 1}</th>' for i in order)
    rows = []
    for i in order:
        cells = "".join(_render_cell(None if i == j else chances.get((i, j)), is_same=i == j) for j in order)
        label = candidates[i] if len(candidates[i]) <= 40 else candidates[i][:39] + "…"
        rows.append(f'<tr><th scope="row">{i + 1}. {show_text(label)}</th>{cells}</tr>')
    return (
        "<h4>Who beats whom</h4>"
        '<div class="vg-scroll" tabindex="0" role="region" aria-label="Win matrix"><table class="vg-matrix">'
        f'<thead><tr><th scope="col">row better than column</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
        '</div><p class="vg-dim">Numbers are the lines of your list. “·”: this pair was not judged.</p>'
    )


def _render_cell(chance: float | None, *, is_same: bool) -> str:
    if chance is None:
        return f'<td class="vg-empty">{"–" if is_same else "·"}</td>'
    # From orange over white to blue; the ink stays dark on all of it.
    colour = (
        f"color-mix(in srgb, #56b4e9 {200 * chance - 100:.0f}%, #fff)"
        if chance >= 0.5
        else f"color-mix(in srgb, #e69f00 {100 - 200 * chance:.0f}%, #fff)"
    )
    return f'<td style="background:{colour};color:#111">{chance:.2f}</td>'


def render_costs(costs: dict[str, int], chosen: str | None) -> str:
    """Judgements that each strategy needs. chosen: the one that was followed."""
    rows = "".join(
        f'<tr><th scope="row">{show_text(name)}{" (used)" if name == chosen else ""}</th><td>{number}</td></tr>'
        for name, number in costs.items()
    )
    return (
        '<h4>What it costs</h4><table class="vg-table"><thead><tr><th scope="col">strategy</th>'
        f'<th scope="col">judgements at most</th></tr></thead><tbody>{rows}</tbody></table>'
        '<p class="vg-dim">One judgement reads a pair in both orders.</p>'
    )


def render_progress(
    done: int, total: int, *, failed: int = 0, rate_per_second: float = 0.0, what: str = "rows", state: str = ""
) -> str:
    """A progress bar with rate and time left. total: 0 while it is not known."""
    share = min(1.0, done / total) if total else 0.0
    left = (
        f" · about {_describe_seconds((total - done) / rate_per_second)} left"
        if rate_per_second and done < total
        else ""
    )
    rate = f" · {rate_per_second:.1f} {what}/s" if rate_per_second else ""
    of_total = f"{done:,} of {total:,} {what}" if total else f"{what} are being counted"
    bad = f" · {failed:,} failed" if failed else ""
    return (
        f'<div class="vg-progress"><div class="vg-meter vg-wide" role="progressbar" aria-label="Progress" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{100 * share:.0f}">'
        f'<span style="width:{100 * share:.1f}%"></span></div>'
        f'<p role="status"><strong>{show_text(state)}</strong> {of_total}{bad}{rate}{left}</p></div>'
    )


def render_problems(problems: Sequence[tuple[str, str]], *, num_more: int = 0) -> str:
    """Rows that failed. problems: name of the row, and why."""
    if not problems:
        return ""
    items = "".join(f"<li><strong>{show_text(name)}</strong>: {show_text(why)}</li>" for name, why in problems)
    more = f"<li>and {num_more:,} more, in the file of errors</li>" if num_more else ""
    return f'<section class="vg-problems"><h4>Rows that failed</h4><ul>{items}{more}</ul></section>'


def _describe_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
