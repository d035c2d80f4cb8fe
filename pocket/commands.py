"""`vl-genrm pocket …`: build the pocket models, measure a judge on them, export and show their world."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from genrm.evidence import ExpertUse
    from genrm.types import Mode
    from pocket.scenes import Split

app = typer.Typer(help="The pocket world: build, bench, export, samples.", no_args_is_help=True, add_completion=False)

_EXPERT_USES = {"off": "", "prompt": "-with-experts", "combine": "-combined"}
"""Of a bench, with what its folder is called."""
SplitOption = Annotated[str, typer.Option(help="train, dev, held-out or shifted.")]


@app.command()
def build(
    output: Annotated[
        Path, typer.Option(help="Folder for pictures, checkpoints, curves and the finished models.")
    ] = Path("build"),
    only: Annotated[
        str | None,
        typer.Option(help="One stage only: vision, base, policy, expert or judge; or supervised, beside them."),
    ] = None,
) -> None:
    """Train the pocket models from nothing (hours on a CPU). A killed build goes on where it was."""
    from pocket.build import STAGES, SUPERVISED, Recipe
    from pocket.build import build as build_models
    from pocket.drawing import emoji_font_path

    allowed = (*STAGES, SUPERVISED)
    if only is not None and only not in allowed:
        raise typer.BadParameter(f"{only!r} is no stage; allowed are {', '.join(allowed)}.", param_hint="--only")
    emoji_font_path()
    typer.echo(f"Made {build_models(Recipe(), output, only=only)}")


@app.command()
def bench(
    model: Annotated[str | None, typer.Option(help="Model folder or hub id; default: the shipped judge.")] = None,
    adapter: Annotated[str | None, typer.Option(help="PEFT adapter folder.")] = None,
    split: SplitOption = "held-out",
    n: Annotated[int, typer.Option(min=1, help="Number of comparisons.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Another draw of scenes and questions.")] = 0,
    mode: Annotated[str, typer.Option(help="critique or fast.")] = "critique",
    samples: Annotated[int, typer.Option(min=1, help="Critiques per order.")] = 1,
    experts: Annotated[
        str,
        typer.Option(help="off; prompt: the judge reads what the shipped expert finds; combine: it is added to its."),
    ] = "off",
    statements: Annotated[
        str | None,
        typer.Option(help="Model folder or hub id, or shipped: it checks whole sentences beside the expert."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Comparisons judged at once.")] = 32,
    blank: Annotated[bool, typer.Option(help="Also judge a quarter of the comparisons with a blank picture.")] = True,
    output: Annotated[Path, typer.Option(help="Folder for the results, in a folder per split and mode.")] = Path(
        "build/bench"
    ),
) -> None:
    """Measure a judge on comparisons whose truth is known. What was judged is not judged again."""
    import asyncio

    from genrm.judge import JudgeOptions
    from pocket.bench import run_bench
    from training.evaluation.judges import JudgeChoice, open_judge
    from training.evaluation.setup import Setup
    from training.html_report.page import name_page

    part = _parse_split(split)
    if mode not in ("critique", "fast"):
        raise typer.BadParameter(f"{mode!r} is no mode; allowed are critique and fast.", param_hint="--mode")
    if experts not in _EXPERT_USES:
        raise typer.BadParameter(
            f"{experts!r} is no use; allowed are {', '.join(_EXPERT_USES)}.", param_hint="--experts"
        )
    try:
        choice = JudgeChoice(model=model, adapter=adapter, statements=statements, with_experts=experts != "off")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    setup = Setup(
        source=f"pocket:{part}?n={n}&seed={seed}",
        output=output / f"{split}-{mode}{_EXPERT_USES[experts]}{'-statements' if statements else ''}",
        judge=open_judge(choice),
        options=JudgeOptions(mode=cast("Mode", mode), samples=samples, experts=cast("ExpertUse", experts)),
        concurrency=concurrency,
    )
    typer.echo(asyncio.run(run_bench(setup, blank=blank)).render())
    typer.echo(f"Written to {setup.output}{name_page(setup.output)}")


@app.command("bench-expert")
def bench_expert(
    model: Annotated[
        str | None, typer.Option(help="Grounding DINO folder or hub id; default: the shipped one.")
    ] = None,
    split: SplitOption = "held-out",
    n: Annotated[int, typer.Option(min=1, help="Number of scenes, and of comparisons.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Another draw of scenes.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for the report, JSON.")] = Path("build/bench-expert"),
) -> None:
    """Measure a detector on scenes whose objects are known, and decide comparisons by its findings alone."""
    import json

    from experts.grounding_dino import GroundingDino
    from experts.panel import ExpertPanel
    from genrm.shipped import expert_folder
    from pocket.expert_bench import decide_pairs, measure_expert

    part = _parse_split(split)
    expert = GroundingDino.load(model or str(expert_folder()))
    report: dict[str, object] = {"model": expert.model, "split": split, "n": n, "seed": seed}
    report |= measure_expert(expert, part, n, seed=seed)
    panel = ExpertPanel([expert], timeout_seconds=60)
    report["pairs"] = decide_pairs(panel, part, n, seed=seed)
    panel.close()
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{split}.json").write_text(json.dumps(report, indent=2) + "\n")
    typer.echo(json.dumps(report, indent=2))


@app.command("bench-statements")
def bench_statements(
    model: Annotated[
        str | None, typer.Option(help="Model folder or hub id that checks statements; default: the shipped policy.")
    ] = None,
    split: SplitOption = "held-out",
    n: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Another draw of scenes and questions.")] = 0,
    fit: Annotated[
        Path | None, typer.Option(help="Fit the probabilities to these statements; statements.json goes here.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the report, JSON.")] = Path("build/bench-statements"),
) -> None:
    """Measure how well a model tells true statements about a scene from false ones, and how far it is to be believed.

    Fit on dev, and measure on held-out afterwards.
    """
    import json

    import numpy as np

    from experts.likelihood_checker import LikelihoodChecker
    from genrm.shipped import policy_folder
    from pocket.statement_bench import find_surprises, fit_scale, make_statements, report_statements

    part = _parse_split(split)
    checker = LikelihoodChecker.load(model or str(policy_folder()))
    told = make_statements(part, n, seed=seed)
    surprises = find_surprises(checker, told)
    scale = checker.scale
    if fit is not None:
        scale = fit_scale(surprises, np.array([each.is_true for each in told]))
        typer.echo(f"Wrote {scale.save(fit)}")
    report: dict[str, object] = {"model": checker.model, "split": split, "n": n, "seed": seed, "scale": str(scale)}
    report |= report_statements(told, surprises, scale)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{split}.json").write_text(json.dumps(report, indent=2) + "\n")
    typer.echo(json.dumps(report, indent=2))


@app.command("study-experts")
def study_experts(
    n: Annotated[int, typer.Option(min=1, help="Comparisons without noise.")] = 3000,
    noisy: Annotated[int, typer.Option(min=1, help="Comparisons for each rate of injected mistakes.")] = 800,
    seed: Annotated[int, typer.Option(min=0, help="Another draw of scenes and mistakes.")] = 4,
    output: Annotated[Path, typer.Option(help="Folder for JSON and plots.")] = Path("build/study-experts"),
) -> None:
    """Measure what experts are worth to a filter and to the judge, and how many mistakes of theirs either bears."""
    from experts.grounding_dino import GroundingDino
    from genrm.engines.in_process import InProcessEngine
    from genrm.shipped import expert_folder, judge_folder
    from pocket.expert_study import run_study, save_study

    engine, expert = InProcessEngine(str(judge_folder())), GroundingDino.load(str(expert_folder()))
    report = run_study(engine, expert, output / "verdicts", num_pairs=n, num_noisy=min(n, noisy), seed=seed)
    for path in save_study(report, output):
        typer.echo(f"Wrote {path}")


@app.command()
def ship(
    build_folder: Annotated[Path, typer.Option("--build", help="Build folder with models and bench reports.")] = Path(
        "build"
    ),
    only: Annotated[str | None, typer.Option(help="One model only: base, policy, judge or expert.")] = None,
) -> None:
    """Copy finished and measured models into the package, with their cards (for maintainers, in a checkout)."""
    from pocket.ship import MODELS
    from pocket.ship import ship as ship_models

    if only is not None and only not in MODELS:
        raise typer.BadParameter(f"{only!r} is no model; allowed are {', '.join(MODELS)}.", param_hint="--only")
    for folder in ship_models(build_folder, names=MODELS if only is None else (only,)):
        typer.echo(f"Wrote {folder}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where the PNG files and rows.jsonl go.")],
    split: SplitOption = "held-out",
    n: Annotated[int, typer.Option(min=1, help="Number of comparisons.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Another draw of scenes and questions.")] = 0,
) -> None:
    """Write comparisons as files that other tools read (VL-RewardBench's field names)."""
    from pocket.rows import export_rows

    typer.echo(f"Wrote {n} comparisons to {export_rows(folder, _parse_split(split), n, seed=seed)}")


@app.command()
def samples(
    folder: Annotated[Path, typer.Argument(help="Where to copy the shipped sample comparisons.")],
) -> None:
    """Copy the shipped sample comparisons, with an input file for a batch; they need no font."""
    import shutil

    from pocket.sample_files import SAMPLES, write_batch

    shutil.copytree(SAMPLES, folder, dirs_exist_ok=True)
    batch = write_batch(folder)
    typer.echo(f"Copied {len(list(SAMPLES.glob('*.png')))} pictures and rows.jsonl to {folder}, and wrote {batch}")


def _parse_split(name: str) -> "Split":
    from pocket.scenes import Split

    if name not in [str(split) for split in Split]:
        allowed = ", ".join(str(split) for split in Split)
        raise typer.BadParameter(f"{name!r} is no split; allowed are {allowed}.", param_hint="--split")
    return Split(name)
