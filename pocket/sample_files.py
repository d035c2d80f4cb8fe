"""Where a few comparisons of the held-out split lie as files, for first steps, tests and benchmarks without the emoji
font.
"""

from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"
"""PNG files and `rows.jsonl`, as `vl-genrm pocket export --split held-out --n 12 --seed 1` writes them."""
