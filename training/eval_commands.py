"""The commands `vl-genrm eval …` and `vl-genrm calibrate`: how good judges and policies are, how sure a judge may be.

Only the standard library and typer are imported at the top. Every command writes `report.json`, `report.txt`,
plots and the page `report.html` into `--output`, keeps each verdict as soon as there is one, and goes on from there
when it is run again.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from genrm.evidence import ExpertUse
    from training.evaluation.report import Report
    from training.evaluation.setup import Setup

app = typer.Typer(
    help="Measure judges: vlrewardbench, hallucination, best-of-n, audit; and policies: policy.",
    no_args_is_help=True,
    add_completion=False,
)

Source = Annotated[
    str, typer.Argument(help="Rows: a .jsonl or .parquet file, a folder of Parquet, org/name[@split], or pocket:SPLIT.")
]
Output = Annotated[Path, typer.Option(help="Folder for verdicts, report and plots; run again to go on from there.")]
Images = Annotated[str | None, typer.Option(help="Folder of the picture files, or none: a grey picture for all.")]
Model = Annotated[str | None, typer.Option(help="Model folder or hub id; with --engine-url its name there.")]
Adapter = Annotated[str | None, typer.Option(help="PEFT adapter folder or hub id.")]
Url = Annotated[str | None, typer.Option(help="A running vl-genrm service to ask instead.")]
EngineUrl = Annotated[str | None, typer.Option(help="OpenAI-compatible server that runs the model.")]
Mode = Annotated[Literal["critique", "fast"], typer.Option(help="critique: reasons first. fast: probabilities only.")]
Samples = Annotated[int, typer.Option(min=1, help="Critiques per order.")]
Experts = Annotated[
    Literal["off", "evidence", "prompt", "combine"],
    typer.Option(help="prompt: the judge reads what vision experts find. combine: their log-odds are added to its."),
]
Expert = Annotated[str | None, typer.Option(help="Grounding DINO folder or hub id; default: the shipped expert.")]
Statements = Annotated[
    str | None,
    typer.Option(
        help="Model folder or hub id, or shipped: it checks whole sentences beside the expert. Default: none."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Read this many rows at most.")]
Seed = Annotated[int, typer.Option(min=0, help="Of intervals and of sampled critiques.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Pairs judged at once.")]


@app.command()
def vlrewardbench(
    source: Source,
    *,
    output: Output,
    outputs: Annotated[
        Path | None, typer.Option(help="Re-score a file of published outputs (the official script's) instead.")
    ] = None,
    text_only: Annotated[bool, typer.Option(help="Judge it again with grey pictures, as a blind baseline.")] = False,
    allow_subset: Annotated[bool, typer.Option(help="Accept other rows than the benchmark's 1,250.")] = False,
    images: Images = None,
    model: Model = None,
    adapter: Adapter = None,
    url: Url = None,
    engine_url: EngineUrl = None,
    mode: Mode = "critique",
    samples: Samples = 1,
    experts: Experts = "off",
    expert: Expert = None,
    statements: Statements = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 32,
) -> None:
    """VL-RewardBench: accuracy by group in both orders, with intervals and blind baselines."""
    given = dict(locals())
    from training.evaluation.vlrewardbench import evaluate_vlrewardbench, rescore_outputs

    setup = _make_setup(given)
    if outputs is not None:
        _say(rescore_outputs(setup, outputs, allow_subset=allow_subset), output)
        return
    _run(evaluate_vlrewardbench(setup, allow_subset=allow_subset, text_only=text_only), output)


@app.command()
def hallucination(
    source: Source,
    *,
    output: Output,
    images: Images = None,
    model: Model = None,
    adapter: Adapter = None,
    url: Url = None,
    engine_url: EngineUrl = None,
    mode: Mode = "critique",
    samples: Samples = 1,
    expert: Expert = None,
    statements: Statements = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 32,
) -> None:
    """Pairs that differ by hallucinated content: the judge, the vision experts, and both together."""
    given = {**locals(), "experts": "evidence"}
    from training.evaluation.hallucination import evaluate_hallucination

    _run(evaluate_hallucination(_make_setup(given)), output)


@app.command("best-of-n")
def best_of_n(
    source: Source,
    *,
    output: Output,
    strategy: Annotated[
        Literal["all", "all_pairs", "swiss", "knockout"],
        typer.Option(help="all_pairs takes N²/2 judgements, swiss two fifths of them, knockout N - 1."),
    ] = "all",
    images: Images = None,
    model: Model = None,
    adapter: Adapter = None,
    url: Url = None,
    engine_url: EngineUrl = None,
    mode: Mode = "critique",
    samples: Samples = 1,
    experts: Experts = "off",
    expert: Expert = None,
    statements: Statements = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 32,
) -> None:
    """Quality of the response picked out of N = 1 … 16, against the first, a random and the best one."""
    given = dict(locals())
    from genrm.ranking import STRATEGIES
    from training.evaluation.best_of_n import evaluate_best_of_n

    _run(evaluate_best_of_n(_make_setup(given), strategies=STRATEGIES if strategy == "all" else (strategy,)), output)


@app.command()
def audit(
    source: Source,
    *,
    output: Output,
    num_samples: Annotated[int, typer.Option(min=2, help="Sampled critiques per order, to see how steady it is.")] = 5,
    images: Images = None,
    model: Model = None,
    adapter: Adapter = None,
    url: Url = None,
    engine_url: EngineUrl = None,
    mode: Mode = "critique",
    samples: Samples = 1,
    experts: Experts = "off",
    expert: Expert = None,
    statements: Statements = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 32,
) -> None:
    """Leanings of a judge: position, length, yes, style; steadiness; calibration."""
    given = dict(locals())
    from training.evaluation.audit import audit as audit_judge

    _run(audit_judge(_make_setup(given), num_samples=num_samples), output)


@app.command()
def policy(
    source: Source,
    *,
    output: Annotated[Path, typer.Option(help="Folder for answers, report and plots; run again to go on from there.")],
    tasks: Annotated[
        str, typer.Option(help="Some of qa,pope,captions; default: all that the source has rows for.")
    ] = "",
    pope: Annotated[
        str | None, typer.Option(help="Source of rows as POPE publishes them; default: made of the rows' objects.")
    ] = None,
    pope_images: Annotated[int, typer.Option(min=1, help="Images that POPE's questions are made for.")] = 200,
    captions: Annotated[int, typer.Option(min=1, help="Images that are described.")] = 100,
    chair_by: Annotated[
        Literal["auto", "objects", "experts"],
        typer.Option(help="What captions are checked against; auto: the rows' objects where all have them."),
    ] = "auto",
    judge: Annotated[
        Literal["off", "fast", "critique"],
        typer.Option(help="Whether and how a judge compares answers with references."),
    ] = "off",
    judge_model: Annotated[str | None, typer.Option(help="Folder or hub id; default: the shipped judge.")] = None,
    judge_adapter: Annotated[str | None, typer.Option(help="PEFT adapter of the judge.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="A running vl-genrm service that judges instead.")] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of a policy that was measured before; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(help="What comparisons call this policy.")] = "after",
    images: Images = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id; default: the shipped policy.")] = None,
    adapter: Adapter = None,
    engine_url: EngineUrl = None,
    expert: Expert = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    limit: Limit = None,
    seed: Seed = 0,
) -> None:
    """A policy: questions answered right, POPE, objects in captions; beside other policies, image by image."""
    from training.engines import PolicyChoice
    from training.jobs.config import read_settings
    from training.policy.comparing import compare_policies
    from training.policy.measuring import PolicyMeasuring, measure_policy

    others = dict(_split_label(given, name) for given in compare or ())
    who = {"model": judge_model, "adapter": judge_adapter, "url": judge_url, "mode": judge}
    settings = read_settings(
        PolicyMeasuring,
        {
            "source": source,
            "images": images,
            "tasks": [word.strip() for word in tasks.split(",") if word.strip()],
            "limit": limit,
            "pope": pope,
            "pope_images": pope_images,
            "num_captions": captions,
            "max_tokens": max_tokens,
            "chair_by": chair_by,
            "expert": expert,
            "judge": None if judge == "off" else who,
        },
    )
    choice = read_settings(PolicyChoice, {"model": model, "adapter": adapter, "url": engine_url})
    _say(measure_policy(choice, settings, output, seed=seed), output)
    if others:
        _say(compare_policies({**others, name: output}, output, seed=seed), output / "comparison")


def calibrate(
    source: Source,
    *,
    output: Output,
    images: Images = None,
    model: Model = None,
    adapter: Adapter = None,
    url: Url = None,
    engine_url: EngineUrl = None,
    mode: Mode = "critique",
    samples: Samples = 1,
    experts: Experts = "off",
    expert: Expert = None,
    statements: Statements = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 32,
) -> None:
    """Fit the temperature that makes a judge's probabilities come true, and with --experts combine the weight of what
    experts find, and save both beside its weights.
    """
    given = dict(locals())
    from genrm.shipped import judge_folder
    from training.evaluation.calibrating import calibrate as calibrate_judge

    weights = Path(adapter or model or judge_folder())
    beside = weights if url is None and engine_url is None and weights.is_dir() else None
    _run(calibrate_judge(_make_setup(given, use_calibration=False), beside=beside), output)
    typer.echo(f"Saved calibration.json in {output}" + (f" and beside the weights in {beside}" if beside else ""))


def _make_setup(given: dict[str, Any], *, use_calibration: bool = True) -> "Setup":
    """The setup that a command's options describe."""
    from genrm.judge import JudgeOptions
    from training.evaluation.judges import JudgeChoice, open_judge
    from training.evaluation.setup import Setup

    experts: ExpertUse = given["experts"]
    try:
        choice = JudgeChoice(
            **{name: given[name] for name in ("model", "adapter", "url", "engine_url", "expert", "statements")},
            with_experts=experts != "off",
            use_calibration=use_calibration,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    images, seed = given["images"], given["seed"]
    return Setup(
        source=given["source"],
        output=given["output"],
        judge=open_judge(choice),
        options=JudgeOptions(mode=given["mode"], samples=given["samples"], seed=seed, experts=experts),
        image_folder=Path(images) if images not in (None, "none") else None,
        show_images=images != "none",
        limit=given["limit"],
        seed=seed,
        concurrency=given["concurrency"],
    )


def _split_label(given: str, own: str) -> tuple[str, Path]:
    label, equals, folder = given.partition("=")
    if not (label and equals and folder) or label == own:
        raise typer.BadParameter(
            f"--compare {given} has no meaning; write NAME=FOLDER, with another name than {own!r}."
        )
    return label, Path(folder)


def _run(evaluation: "Coroutine[Any, Any, Report]", output: Path) -> None:
    _say(asyncio.run(evaluation), output)


def _say(report: "Report", folder: Path) -> None:
    """Print a report, and where its page is."""
    from training.html_report.page import name_page

    typer.echo(report.render() + name_page(folder))
