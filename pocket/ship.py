"""Puts finished models of a build folder where the package ships them from, each with a card.

A card says what the model was trained on, how, by which command and commit, and what was measured. The figures come
from the reports that `vl-genrm pocket bench` wrote into `<build>/bench-<model>/`; a model without a held-out report
is not shipped.

Run: `vl-genrm pocket ship --build build`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from experts.reliability import RELIABILITY_FILE
from experts.statement_scale import STATEMENTS_FILE
from genrm.errors import GenRMError
from genrm.shipped import base_folder, expert_folder, judge_folder, policy_folder
from pocket.build import current_commit
from training.jobs.config import read_mapping
from training.jobs.run_folder import CONFIG

_FILES = ("*.json", "*.jinja", "*.safetensors")
MODELS = ("base", "policy", "judge", "expert")
_PURPOSE = {
    "base": "A small Qwen2-VL that lists, answers, criticises, revises, verifies and, without being a judge, "
    "judges in the pocket world. It stands for a general vision-language model: what judge training starts from.",
    "judge": "A small Qwen2-VL that judges two answers about a picture of the pocket world: a critique, then a "
    "verdict. `vl-genrm serve` loads it when no other model is configured.",
    "policy": "The pocket base, taught two rounds longer to answer questions shortly, revise and verify. It stands for "
    "the model that a post-training team aligns: what `vl-genrm train dpo` and `train ipa` start from. It also checks "
    "statements (`GENRM_EXPERTS=…,statements:shipped`); `statements.json` is what `vl-genrm pocket bench-statements "
    "--fit` measured of it on `dev`.",
    "expert": "A small Grounding DINO that finds the objects of the pocket world by name. `vl-genrm serve` loads it "
    "beside the shipped judge. `known_phrases.json` lists the names it knows, `reliability.json` what was measured "
    "of it.",
}
_STAGES = {
    "base": ("vision", "language_scenes", "base"),
    "policy": ("language_scenes", "policy"),
    "expert": ("expert_scenes", "expert_backbone", "expert"),
    "judge": (),
}
"""Parts of the build's recipe that a card shows; the judge's is that of the training loop."""
_MEASURE = {"expert": "pocket bench-expert", "policy": "eval policy 'pocket:held-out?n=2000'"}
"""How a model is measured that is no judge."""
_DATA = (
    "Scenes of the pocket world (`pocket/`), split `train` only: generated, with exact ground truth, no data of other "
    "people. The glyphs in the pictures are those of Noto Color Emoji (SIL Open Font License 1.1)."
)


class ReportMissingError(GenRMError, FileNotFoundError):
    """A model has not been measured yet. Run the command that the message names."""


def ship(build: Path, *, names: tuple[str, ...] = MODELS) -> list[Path]:
    """Copy models with their cards into the package; return the folders written. Raises ReportMissingError."""
    targets = {
        "base": base_folder(),
        "policy": policy_folder(),
        "judge": judge_folder(),
        "expert": expert_folder(),
    }
    written = []
    for name in names:
        source, target = build / name, targets[name]
        card = write_card(name, build)
        if name == "policy" and not (source / STATEMENTS_FILE).exists():
            raise ReportMissingError(
                f"{source / STATEMENTS_FILE} is missing: nobody measured what this policy's surprise says. Run "
                f"`vl-genrm pocket bench-statements --model {source} --split dev --seed 11 --n 1000 --fit {source}`."
            )
        if target.exists():
            shutil.rmtree(target)
        target.mkdir(parents=True)
        for pattern in _FILES:
            for path in source.glob(pattern):
                shutil.copy(path, target)
        if name == "expert":
            (target / RELIABILITY_FILE).write_text(json.dumps(read_reliability_of(build), indent=1) + "\n")
        (target / "README.md").write_text(card)
        written.append(target)
    return written


def read_reliability_of(build: Path) -> dict[str, float]:
    """Recall and rate of false alarms as the held-out report of the expert has them."""
    report = json.loads((build / "bench-expert" / "held-out.json").read_text())
    return {"recall": report["recall"]["value"], "false_alarm_rate": report["one_too_many"]["value"]}


def write_card(name: str, build: Path) -> str:
    """The model card as Markdown. name: one of MODELS. Raises ReportMissingError without a held-out
    report.
    """
    reports = _find_reports(build / f"bench-{name}")
    if not any(title.startswith("held-out") for title in reports):
        measure = _MEASURE.get(name, "pocket bench")
        output = f"{build}/bench-{name}" + ("/held-out" if name == "policy" else "")
        raise ReportMissingError(
            f"There is no held-out report in {build}/bench-{name}. Run `vl-genrm {measure} --model {build}/{name} "
            f"--output {output}` first."
        )
    notes = build / f"notes-{name}.md"
    recipe = json.loads((build / "recipe.json").read_text())
    stages = {key: recipe[key] for key in _STAGES[name]}
    if name == "judge":
        loop = read_mapping(build / "loop" / CONFIG)
        stages = {"loop": {key: value for key, value in loop.items() if key != "output"}}
    return "\n".join(
        [
            f"# VL-GenRM pocket {name}",
            "",
            _PURPOSE[name],
            "",
            "## Data",
            _DATA,
            "",
            "## Recipe",
            "```json",
            json.dumps(stages, indent=1),
            "```",
            *([notes.read_text().strip()] if notes.exists() else []),
            "",
            "## Command",
            f"`vl-genrm pocket build --only {name}` after the stages before it.",
            "",
            "## Commit",
            f"`{current_commit()}`",
            "",
            "## Metrics",
            *(_metrics(json.loads(path.read_text()), title) for title, path in reports.items()),
            "",
            "Licence: Apache-2.0. Limits: it knows the pocket world only; on other pictures its verdicts mean nothing.",
            "",
        ]
    )


def _find_reports(folder: Path) -> dict[str, Path]:
    """Reports by what they are of: `<split>.json` of an expert, `<split>-<mode>/report.json` of a judge,
    `<split>/report.json` of a policy.
    """
    found = {path.stem: path for path in folder.glob("*.json")}
    return dict(sorted((found | {path.parent.name: path for path in folder.glob("*/report.json")}).items()))


def _metrics(report: dict[str, Any], name: str) -> str:
    if "AP50" in report:
        return _expert_metrics(report, name)
    return _judge_metrics(report, name) if "accuracy" in report["sections"] else _policy_metrics(report, name)


def _show(share: dict[str, float]) -> str:
    return f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"


def _expert_metrics(report: dict[str, Any], name: str) -> str:
    pairs = report["pairs"]
    return "\n".join(
        [
            f"\n`{name}`: {report['n']} scenes, seed {report['seed']}; share with 95 % interval.",
            "",
            "| what | measured |",
            "|---|---|",
            f"| AP50 (COCO) | {report['AP50']:.3f} |",
            f"| recall of objects at the default threshold | {_show(report['recall'])} |",
            f"| false claims accepted | {_show(report['false_claims_accepted'])} |",
            f"| phrases with one object too many | {_show(report['one_too_many'])} |",
            f"| comparisons decided right by it alone, n = {pairs['overall']['num']} | {_show(pairs['overall'])} |",
            *(f"| – {kind}, n = {share['num']} | {_show(share)} |" for kind, share in pairs["by_kind"].items()),
        ]
    )


def _policy_metrics(report: dict[str, Any], name: str) -> str:
    shown = {title: section for title, section in report["sections"].items() if not title.endswith("by kind")}
    return "\n".join(
        [
            f"\n`{name}`: {report['settings']['source']}; value with 95 % interval.",
            "",
            "| what | measured |",
            "|---|---|",
            *(
                f"| {title}, {what} | {_show(estimate)} |"
                for title, of in shown.items()
                for what, estimate in of.items()
            ),
        ]
    )


def _judge_metrics(report: dict[str, Any], name: str) -> str:
    sections = report["sections"]
    shown = [sections[title] for title in ("accuracy", "behaviour", "baselines", "calibration")]
    return "\n".join(
        [
            f"\n`{name}`: {report['settings']['source']}, both orders; value with 95 % interval.",
            "",
            "| what | measured |",
            "|---|---|",
            *(f"| {what} | {_show(estimate)} |" for section in shown for what, estimate in section.items()),
        ]
    )
