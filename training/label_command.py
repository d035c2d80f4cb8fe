"""`vl-genrm label`: have a judge label pairs, and get preference rows for DPO.

Only the standard library and typer are imported at the top. Started again with the same settings, it goes on.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer


def label(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Rows: a .jsonl or .parquet file, a folder of Parquet, org/name[@split], pocket:SPLIT.",
        ),
    ],
    *,
    output: Annotated[Path, typer.Option(help="Folder for verdicts, preference rows and the summary.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the picture files, if not beside the rows.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read this many rows at most.")] = None,
    url: Annotated[str | None, typer.Option(help="A running vl-genrm service to ask. Default: judge here.")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id; with --engine-url its name there.")] = None,
    adapter: Annotated[str | None, typer.Option(help="PEFT adapter folder or hub id.")] = None,
    engine_url: Annotated[str | None, typer.Option(help="OpenAI-compatible server that runs the model.")] = None,
    expert: Annotated[str | None, typer.Option(help="Grounding DINO folder or hub id; default: shipped.")] = None,
    statements: Annotated[
        str | None,
        typer.Option(
            help="Model folder or hub id, or shipped: it checks whole sentences beside the expert. Default: none."
        ),
    ] = None,
    mode: Annotated[
        Literal["critique", "fast"], typer.Option(help="critique: reasons first. fast: probabilities only.")
    ] = "critique",
    samples: Annotated[int, typer.Option(min=1, help="Critiques per order.")] = 1,
    experts: Annotated[
        Literal["off", "evidence", "prompt", "combine"],
        typer.Option(help="Whether vision experts check what answers claim."),
    ] = "off",
    min_margin: Annotated[float, typer.Option(min=0, max=1, help="Least |P(A) - P(B)| of what is kept.")] = 0.3,
    keep_inconsistent: Annotated[bool, typer.Option(help="Keep pairs whose orders disagree, too.")] = False,
    keep_contradicted: Annotated[
        bool, typer.Option(help="Keep pairs that the experts contradict, or could not check, too.")
    ] = False,
    pairs_per_row: Annotated[int, typer.Option(min=1, help="Pairs kept of a row with several candidates.")] = 1,
    rows_per_shard: Annotated[int, typer.Option(min=1, help="Rows worked on together, and written together.")] = 256,
    concurrency: Annotated[int, typer.Option(min=1, help="Pairs judged at once.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of sampled critiques.")] = 0,
    runner: Annotated[
        Literal["local", "ray"], typer.Option(help="local: one judge. ray: a pool of judges, on one machine or many.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a Ray cluster's head, or auto on one of its machines. Default: start one."),
    ] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Judges on Ray. Default: as many as fit.")] = None,
    cpus_per_actor: Annotated[
        float | None, typer.Option(min=0, help="Cores, and threads, of each judge on Ray. Default: 1.")
    ] = None,
    gpus_per_actor: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs of each judge on Ray, or a share of one. Default: 1 if there is one."),
    ] = None,
) -> None:
    """Label comparisons with the judge: verdicts for all pairs, preference rows (for TRL) of those it is sure of."""
    from training.train_commands import resumable

    asked = {
        "address": ray_address,
        "actors": actors,
        "cpus_per_actor": cpus_per_actor,
        "gpus_per_actor": gpus_per_actor,
    }
    pool = {name: value for name, value in asked.items() if value is not None}
    if runner == "local" and pool:
        raise typer.BadParameter(
            "--ray-address, --actors, --cpus-per-actor and --gpus-per-actor have no effect with --runner local; drop "
            "them, or add --runner ray."
        )
    with resumable():
        from functools import partial

        from training.html_report.page import name_page
        from training.jobs.run_folder import RunFolder
        from training.labelling.label import JudgeSection, LabelConfig, choose_judge, label_here, run
        from training.labelling.ray_cluster import RayOptions
        from training.labelling.ray_runner import label_on_ray
        from training.labelling.rules import KeepRules

        config = LabelConfig(
            output=output,
            seed=seed,
            source=source,
            images=images,
            limit=limit,
            judge=JudgeSection(
                model=model, adapter=adapter, url=url, engine_url=engine_url, expert=expert, statements=statements
            ),
            mode=mode,
            samples=samples,
            experts=experts,
            keep=KeepRules(
                min_margin=min_margin,
                consistent=not keep_inconsistent,
                experts=not keep_contradicted,
                pairs_per_row=pairs_per_row,
            ),
            rows_per_shard=rows_per_shard,
            concurrency=concurrency,
        )
        try:
            choose_judge(config)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        options = RayOptions.model_validate(pool)
        with RunFolder.open(output, config) as folder:
            result = run(config, folder, label_here if runner == "local" else partial(label_on_ray, options))
    typer.echo(
        f"{result['num_pairs']:,} pairs judged, {result['num_kept']:,} kept in {output / 'dpo'}. Counts and plots: "
        f"{output / 'README.md'}{name_page(output)}"
    )
