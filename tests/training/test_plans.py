"""Plans of jobs that read a source: they count the rows that there are."""

from pathlib import Path
from typing import Any

import pytest

from training import critiques
from training.critiques import CritiqueConfig
from training.ipa.settings import IpaConfig
from training.jobs.job import Job
from training.preferences import ipa, vapr, vl_genrm
from training.preferences.vapr import VaprConfig
from training.preferences.vl_genrm import PreferenceConfig
from training.tables import SourceError

JOBS = [
    (vl_genrm.JOB, PreferenceConfig, "source"),
    (vapr.JOB, VaprConfig, "source"),
    (ipa.JOB, IpaConfig, "source"),
    (critiques.JOB, CritiqueConfig, "pairs"),
]


@pytest.mark.parametrize(("job", "schema", "source"), JOBS)
@pytest.mark.parametrize(("limit", "num"), [(1000, 40), (7, 7), (None, 40)])
def test_a_plan_counts_no_row_that_is_not_there(
    job: Job[Any], schema: type[Any], source: str, limit: int | None, num: int, rows_file: Path
) -> None:
    config = schema(output="unused", limit=limit, **{source: str(rows_file)})
    assert job.plan(config).steps[0].detail.startswith((f"{num} rows", f"{num} items", f"{num} pairs"))


@pytest.mark.parametrize(("job", "schema", "source"), JOBS)
def test_a_plan_fetches_nothing_from_the_hub_where_a_limit_says_how_many(
    job: Job[Any], schema: type[Any], source: str
) -> None:
    config = schema(output="unused", limit=30_000, **{source: "org/a-large-set@train"})
    assert job.plan(config).steps[0].detail.startswith("30,000 ")


def test_a_local_file_that_is_absent_is_said_to_be_also_where_there_is_a_limit() -> None:
    config = PreferenceConfig(output=Path("unused"), source="data/nowhere.jsonl", limit=30)
    with pytest.raises(SourceError, match=r"'data/nowhere\.jsonl' is no source"):
        vl_genrm.JOB.plan(config)
