"""What the two dashboards show: titles, queries, units and a sentence for whoever reads a panel at night.

The shape that Grafana wants is the business of `service.dashboards`. `MATCH` stands for the instances chosen on the
dashboard, `$__rate_interval` for Grafana's choice of a window that holds enough scrapes.
"""

from dataclasses import dataclass
from typing import Literal

MATCH = 'instance=~"$instance"'
_FOUND = f'{MATCH}, result="hit"'
_JUDGE = f'{MATCH}, route="/v1/judge"'
_JUDGED = f'{MATCH}, route="/v1/judge", status="200"'

Kind = Literal["timeseries", "stacked", "stat", "heatmap"]


@dataclass(frozen=True, kw_only=True)
class Query:
    """One line or family of lines. legend: Grafana's template over the labels of the result."""

    expression: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. unit: a unit of Grafana (`s`, `reqps`, `percentunit`, `short`). width: of 24 columns.

    kind: `stacked` adds lines up; `heatmap` takes one query that gives buckets by `le`.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str
    kind: Kind = "timeseries"
    width: int = 12


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One page. uid: its stable name in URLs; the JSON file is called after it."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]


def per_second(series: str, labels: str = MATCH, *, by: str = "") -> str:
    """Rate of a counter, added up over instances and grouped by the labels in `by`."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({series}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, labels: str = MATCH, *, by: str = "") -> str:
    """A quantile over all instances. share: in [0, 1]."""
    grouping = f"{by}, le" if by else "le"
    return f"histogram_quantile({share:g}, {per_second(f'{histogram}_bucket', labels, by=grouping)})"


def mean(histogram: str, labels: str = MATCH, *, by: str = "") -> str:
    """The mean of a histogram's observations over all instances."""
    total, count = (per_second(f"{histogram}_{part}", labels, by=by) for part in ("sum", "count"))
    return f"{total} / {count}"


_REQUEST = "genrm_request_duration_seconds"

LATENCY = Dashboard(
    uid="genrm-latency",
    title="Judge latency",
    description="How long judgements take, where the time goes, and what waits.",
    panels=(
        Panel(
            title="Ready replicas",
            description="Replicas that take judgements. Fewer than you run: see GenrmNotReady and GenrmDown.",
            queries=(Query(expression=f"sum(genrm_ready{{{MATCH}}})", legend="ready"),),
            unit="short",
            kind="stat",
            width=4,
        ),
        Panel(
            title="Longest standstill",
            description="How long a worker has had work and finished nothing. /livez fails at GENRM_MAX_STALL_SECONDS.",
            queries=(Query(expression=f"max(genrm_worker_stall_seconds{{{MATCH}}})", legend="standstill"),),
            unit="s",
            kind="stat",
            width=4,
        ),
        Panel(
            title="Requests by status",
            description="All answers of POST /v1/judge. 4xx is the callers' business, 5xx is ours.",
            queries=(Query(expression=per_second(f"{_REQUEST}_count", _JUDGE, by="status"), legend="{{status}}"),),
            unit="reqps",
            kind="stacked",
            width=16,
        ),
        Panel(
            title="Request latency",
            description="POST /v1/judge answered with 200, from arrival to the last byte, streams included. "
            "A quantile is as exact as the bucket it falls into.",
            queries=(
                *(
                    Query(expression=quantile(share, _REQUEST, _JUDGED), legend=f"P{share * 100:.0f}")
                    for share in (0.5, 0.9, 0.95, 0.99)
                ),
                Query(expression=mean(_REQUEST, _JUDGED), legend="mean"),
            ),
            unit="s",
        ),
        Panel(
            title="Mean time per stage",
            description="Of one judgement: decoding images, waiting for the worker, the engine; of one batch: each "
            "expert. The engine's part includes the waiting for other rows of its batch.",
            queries=(
                Query(expression=mean("genrm_media_duration_seconds"), legend="media"),
                Query(expression=mean("genrm_queue_duration_seconds"), legend="queue"),
                Query(expression=mean("genrm_engine_duration_seconds", f'{MATCH}, stage="judgement"'), legend="engine"),
                Query(
                    expression=mean("genrm_expert_duration_seconds", by="expert"), legend="expert {{expert}} (batch)"
                ),
            ),
            unit="s",
        ),
        Panel(
            title="Time per pass of the model",
            description="P50 and P99 of prefill (newcomers' images and prompts) and decode (one token for every row).",
            queries=tuple(
                Query(
                    expression=quantile(
                        share, "genrm_engine_duration_seconds", f'{MATCH}, stage!="judgement"', by="stage"
                    ),
                    legend=f"{{{{stage}}}} P{share * 100:.0f}",
                )
                for share in (0.5, 0.99)
            ),
            unit="s",
        ),
        Panel(
            title="Time to first token",
            description="Of streamed requests: from arrival to the first text of the critique.",
            queries=tuple(
                Query(expression=quantile(share, "genrm_time_to_first_token_seconds"), legend=f"P{share * 100:.0f}")
                for share in (0.5, 0.99)
            ),
            unit="s",
        ),
        Panel(
            title="Running and waiting",
            description="Judgements and rankings in progress, and their readings (two per judgement and sample) in the "
            "worker. If some wait all the time, the replicas are full.",
            queries=(
                Query(expression=f"sum(genrm_requests_running{{{MATCH}}})", legend="requests in progress"),
                Query(expression=f"sum by (state) (genrm_batch_rows{{{MATCH}}})", legend="readings {{state}}"),
            ),
            unit="short",
        ),
        Panel(
            title="Wait for the worker",
            description="How long a judgement waited before its first prompt was computed.",
            queries=tuple(
                Query(expression=quantile(share, "genrm_queue_duration_seconds"), legend=f"P{share * 100:.0f}")
                for share in (0.5, 0.9, 0.99)
            ),
            unit="s",
        ),
        Panel(
            title="Rejections",
            description="Requests answered with an error, by its code.",
            queries=(Query(expression=per_second("genrm_rejections_total", by="reason"), legend="{{reason}}"),),
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            title="Batch size",
            description="Readings in one decoding pass. A mean near two although many clients ask: none overlap.",
            queries=(
                Query(expression=mean("genrm_batch_size"), legend="mean"),
                Query(expression=quantile(0.9, "genrm_batch_size"), legend="P90"),
            ),
            unit="short",
        ),
        Panel(
            title="Tokens",
            description="Tokens per second: prompt (cached ones included), cached (not computed again), completion.",
            queries=(Query(expression=per_second("genrm_tokens_total", by="kind"), legend="{{kind}}"),),
            unit="short",
        ),
        Panel(
            title="Beginnings found computed",
            description="Share of prompts' beginnings (images and question) that an earlier request had computed. "
            "High where callers rank, or ask about the same picture again; see GENRM_MAX_PREFIX_TOKENS.",
            queries=(
                Query(
                    expression=f"{per_second('genrm_prefix_cache_lookups_total', _FOUND)} / "
                    f"{per_second('genrm_prefix_cache_lookups_total')}",
                    legend="found",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Lines of batches",
            description="Lines per second by what came of them. Batches take what requests leave, so it falls while "
            "these come.",
            queries=(Query(expression=per_second("genrm_batch_lines_total", by="result"), legend="{{result}}"),),
            unit="ops",
            kind="stacked",
        ),
        Panel(
            title="Memory of the process",
            description="Resident memory per replica.",
            queries=(
                Query(
                    expression=f"process_resident_memory_bytes{{{MATCH}}} and on (job, instance) genrm_ready",
                    legend="{{instance}}",
                ),
            ),
            unit="bytes",
        ),
    ),
)

_READ_TWICE = f'{MATCH}, preferred_position!="unknown"'

QUALITY = Dashboard(
    uid="genrm-quality",
    title="Judge quality",
    description="What the judge answers, and signs that it does not know what it is doing. None of this is accuracy: "
    "that takes labelled comparisons (`vl-genrm eval`).",
    panels=(
        Panel(
            title="Flip rate",
            description="Share of verdicts whose two orders prefer different responses, of those where both orders "
            "gave a preference.",
            queries=(
                Query(
                    expression=f"{per_second('genrm_inconsistent_total')} / "
                    f"{per_second('genrm_verdicts_total', _READ_TWICE)}",
                    legend="flip rate",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Unparsed rate",
            description="Share of readings without a legal verdict: cut off, or not in the form the prompt asks for.",
            queries=(
                Query(
                    expression=f"{per_second('genrm_unparsed_total')} / {per_second('genrm_readings_total')}",
                    legend="unparsed rate",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Verdicts by status",
            description="Share of decided, tie and abstained verdicts.",
            queries=(
                Query(
                    expression=f"{per_second('genrm_verdicts_total', by='status')} / ignoring (status) group_left "
                    f"{per_second('genrm_verdicts_total')}",
                    legend="{{status}}",
                ),
            ),
            unit="percentunit",
            kind="stacked",
        ),
        Panel(
            title="Verdicts by preferred position",
            description="neither: both orders prefer the same response. first or second: the judge prefers a place, "
            "not a response. unknown: one order is unparsed, or the responses were identical.",
            queries=(
                Query(
                    expression=f"{per_second('genrm_verdicts_total', by='preferred_position')} / "
                    f"ignoring (preferred_position) group_left {per_second('genrm_verdicts_total')}",
                    legend="{{preferred_position}}",
                ),
            ),
            unit="percentunit",
            kind="stacked",
        ),
        Panel(
            title="Label mass",
            description="Probability on the legal labels where the verdict stands. It should be near one; a cloud "
            "further down means that the model wants to say something else.",
            queries=(Query(expression=per_second("genrm_label_mass_bucket", by="le"), legend="{{le}}"),),
            unit="short",
            kind="heatmap",
        ),
        Panel(
            title="Margin",
            description="P(A) − P(B). Two bright edges: a sure judge. A bright middle: it guesses. One edge only: "
            "callers always send the better response in the same field, or the judge prefers a letter.",
            queries=(Query(expression=per_second("genrm_margin_bucket", by="le"), legend="{{le}}"),),
            unit="short",
            kind="heatmap",
        ),
        Panel(
            title="Expert conflicts",
            description="Share of verdicts against what the vision experts found in the image.",
            queries=(
                Query(
                    expression=f"{per_second('genrm_expert_conflicts_total')} / {per_second('genrm_verdicts_total')}",
                    legend="conflicts",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Verdicts",
            description="Verdicts per second, by status: how much the shares above rest on.",
            queries=(Query(expression=per_second("genrm_verdicts_total", by="status"), legend="{{status}}"),),
            unit="reqps",
            kind="stacked",
        ),
    ),
)

DASHBOARDS = (LATENCY, QUALITY)
