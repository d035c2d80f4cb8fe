"""The comparisons that ship: read as they were exported, and what each says is so."""

from pocket.rows import make_row
from pocket.scenes import Split
from service.samples import SHOWN_FIRST, load_shipped_samples


def test_the_shipped_samples_are_the_pocket_world_s_with_the_plain_one_in_front() -> None:
    samples = load_shipped_samples()
    assert samples[0].id == SHOWN_FIRST
    for sample in samples:
        row = make_row(Split.HELD_OUT, int(sample.id.rpartition("-")[2]), seed=1)
        assert (sample.id, sample.question, sample.better) == (row.id, row.question, row.label)
        assert (sample.response_a, sample.response_b) == (row.response_a, row.response_b)
        assert sample.image.is_file()
    assert len({sample.id for sample in samples}) == 12
