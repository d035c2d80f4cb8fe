"""Temperatures that turn a judge's log-odds into probabilities that come true.

A judge's log-odds, averaged over both orders, are divided by a temperature T > 0 that was fitted on labelled pairs
(`vl-genrm calibrate`): T > 1 makes an overconfident judge humbler. Who is preferred never changes, and mirrored
comparisons stay mirrored, as a division is odd. There is one temperature per mode, because a critique makes a judge
surer.

Where what vision experts found is added to the log-odds (`experts` is `combine`), a second temperature and the weight
of the evidence belong together and are fitted together; unfitted, the judge's own temperature and a weight of 1.

The file `calibration.json` lies beside the adapter, or the model where there is none; without it T is 1. It holds for
the prompt it was fitted with, and is left aside, with a warning, under another one.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

from genrm.errors import ModelLoadError
from genrm.prompts import PROMPT_VERSION
from genrm.types import Mode

CALIBRATION_FILE = "calibration.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Log-odds of a verdict = the judge's / temperature + evidence_weight × the evidence's, if that is added at all."""

    temperature: float = 1.0
    evidence_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures by mode; 1 where there is none. Raises ValueError for one that is not above 0.

    combined: by mode, the scale under which evidence is added. Its weight may be 0: experts that say nothing.
    """

    temperatures: Mapping[Mode, float] = field(default_factory=dict)
    combined: Mapping[Mode, Scale] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scales = [*self.combined.items(), *((mode, Scale(temperature=t)) for mode, t in self.temperatures.items())]
        for mode, scale in scales:
            if mode not in get_args(Mode) or not (math.isfinite(scale.temperature) and scale.temperature > 0):
                raise ValueError(
                    f"The temperature of mode {mode!r} is {scale.temperature!r}; it must be a number above 0."
                )
            if not (math.isfinite(scale.evidence_weight) and scale.evidence_weight >= 0):
                raise ValueError(
                    f"The evidence weight of mode {mode!r} is {scale.evidence_weight!r}; it must be 0 or above."
                )

    def scale(self, mode: Mode, *, with_evidence: bool = False) -> Scale:
        """How log-odds of this mode become a verdict's. with_evidence: whether evidence is added."""
        alone = Scale(temperature=self.temperatures.get(mode, 1.0))
        return self.combined.get(mode, alone) if with_evidence else alone


UNCALIBRATED = Calibration()


@runtime_checkable
class LocalEngine(Protocol):
    """An engine that knows where its weights lie."""

    @property
    def weights(self) -> str:
        """Folder or hub id of the adapter, or of the model where there is none."""


def find_calibration(engine: object) -> Calibration:
    """The calibration that lies beside an engine's weights; `UNCALIBRATED` if its model runs elsewhere. Raises
    ModelLoadError if the file cannot be read as one.
    """
    return read_calibration(engine.weights) if isinstance(engine, LocalEngine) else UNCALIBRATED


def read_calibration(folder: str | Path) -> Calibration:
    """What `calibration.json` in an adapter's or model's folder says; `UNCALIBRATED` without one, as for a hub id.

    Raises ModelLoadError if the file cannot be read as one.
    """
    path = Path(folder).expanduser() / CALIBRATION_FILE
    if not path.is_file():
        return UNCALIBRATED
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        calibration = Calibration(
            {mode: float(value) for mode, value in record["temperatures"].items()},
            {
                mode: Scale(temperature=float(each["temperature"]), evidence_weight=float(each["evidence_weight"]))
                for mode, each in record.get("combined", {}).items()
            },
        )
        fitted_for = record["prompt_version"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            f"{path} is no calibration ({error}). Write it anew with vl-genrm calibrate, or remove it."
        ) from error
    if fitted_for != PROMPT_VERSION:
        _log.warning(
            "%s was fitted for prompt version %s and is not used with %s; run vl-genrm calibrate again.",
            path,
            fitted_for,
            PROMPT_VERSION,
        )
        return UNCALIBRATED
    return calibration


def write_calibration(
    folder: Path,
    temperatures: Mapping[Mode, float],
    combined: Mapping[Mode, Scale] | None = None,
    *,
    notes: Mapping[str, object],
) -> Path:
    """Write what was fitted beside a model, keeping what else is there for the same prompt.

    notes: what it rests on, for readers. Returns the file's path.
    """
    known = read_calibration(folder)
    merged = Calibration({**known.temperatures, **temperatures}, {**known.combined, **(combined or {})})
    path = folder / CALIBRATION_FILE
    record: dict[str, object] = {"prompt_version": PROMPT_VERSION, "temperatures": dict(merged.temperatures)}
    if merged.combined:
        record["combined"] = {mode: asdict(scale) for mode, scale in merged.combined.items()}
    record["notes"] = dict(notes)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path
