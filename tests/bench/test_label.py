"""The benchmarks of labelling: what they make of what they saw. Their runs take minutes and are not for tests."""

from __future__ import annotations

import pytest

from bench import label, label_ray


def make_samples(rows: list[int], memory: list[float]) -> list[label.Sample]:
    both = zip(rows, memory, strict=True)
    return [label.Sample(seconds=2.0 * i, num_rows=num, rss_mib=mib) for i, (num, mib) in enumerate(both)]


def test_memory_is_compared_between_the_early_rows_and_the_last() -> None:
    rows = [0] * 5 + list(range(100, 2100, 100))
    memory = [1.0] * 5 + [500.0] * 10 + [510.0] * 8 + [530.0, 550.0]
    assert label.find_memory(make_samples(rows, memory), early=100) == (500.0, 540.0)
    assert label.find_memory(make_samples(rows, memory), early=2000) is None


def test_speed_counts_from_the_end_of_the_first_shard_to_that_of_the_last() -> None:
    samples = make_samples([0, 0, 0, 64, 64, 128, 192, 192], [1.0] * 8)
    assert label.find_speed(samples) == pytest.approx((192 - 64) / (12 - 6))
    assert label.find_speed(samples[:4]) is None


def test_a_pool_is_timed_from_the_moment_that_every_judge_has_finished_a_shard() -> None:
    done = [(20.0, 1), (30.0, 2), (40.0, 4), (60.0, 6)]
    assert label_ray.find_speed(done, num_actors=2, rows=10) == pytest.approx(40 / 30)
    assert label_ray.find_speed(done, num_actors=6, rows=10) is None
