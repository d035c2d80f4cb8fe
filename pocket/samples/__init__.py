"""A few comparisons of the held-out split as files, for first steps, tests and benchmarks on machines without the emoji font."""

from pathlib import Path

SAMPLES = Path(__file__).parent
