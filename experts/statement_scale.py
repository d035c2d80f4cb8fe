"""How surprise becomes a probability: what was measured of a model that checks statements, or what is assumed of it.

`vl-genrm pocket bench-statements --fit` measures it and writes `statements.json` into the model's folder.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from genrm.errors import ModelLoadError
from genrm.verdict import sigmoid

STATEMENTS_FILE = "statements.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementScale:
    """P(a statement is true) = sigmoid(intercept − slope × surprise), where it is true as often as false beforehand.

    surprise: the largest excess surprise of its tokens, nats (`experts.likelihood_checker`). slope: per nat, > 0.
    num_statements: how many it was fitted to; 0 if it is assumed. The assumed values doubt a statement from 8 nats on:
    nobody measured them, and an unknown model may be surprised by wording as much as by falsehood.
    """

    intercept: float = 4.0
    slope: float = 0.5
    num_statements: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.intercept):
            raise ValueError(f"intercept is {self.intercept}; it must be a number.")
        if not (math.isfinite(self.slope) and self.slope > 0):
            raise ValueError(f"slope is {self.slope}; it must be above 0.")

    def probability(self, surprise: float) -> float:
        """That a statement of this surprise (nats) is true, in [0, 1]."""
        return sigmoid(self.intercept - self.slope * surprise)

    def save(self, folder: Path) -> Path:
        """Write it into a model's folder, and return the file."""
        file = folder / STATEMENTS_FILE
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return file


def read_scale(model: str) -> StatementScale | None:
    """What was measured of a model folder (`statements.json` in it), or None if it does not say.

    Raises ModelLoadError if the file is damaged.
    """
    file = Path(model).expanduser() / STATEMENTS_FILE
    if not file.is_file():
        return None
    try:
        return StatementScale(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelLoadError(
            f"{file} must hold an object with intercept, slope (above 0) and num_statements. Correct it, or delete it "
            "to use the assumed values."
        ) from error
