"""Rows come, grow and go; whatever happens around it, a row sees exactly its own tokens, in their order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genrm.engines import kv_cache
from genrm.engines.kv_cache import CacheShape, RowCache, Run, RunningRows

SHAPE = CacheShape(num_layers=2, num_heads=2, head_width=3, dtype=torch.float32, device=torch.device("cpu"))


def make_run(tokens: list[float]) -> Run:
    """A run in the middle of a block of its own; every number of a token is the token's own."""
    block = SHAPE.new_block(rows=3, columns=len(tokens) + 4)
    block[:] = torch.nan  # what lies around a run must never be looked at
    block[:, 1, :, 2 : 2 + len(tokens)] = torch.tensor(tokens)[:, None]
    return Run(block, row=1, start=2, length=len(tokens))


def take_step(rows: RunningRows, tokens: list[float]) -> list[list[float]]:
    """Append a token to every row, as a forward pass does. Returns what each row then sees."""
    mask = rows.begin_step()
    new = torch.tensor(tokens)[:, None, None, None].expand(-1, 2, 1, 3)
    planes: list[Tensor] = []
    for layer in range(SHAPE.num_layers):
        planes += rows.cache.update(new, new, layer)
    rows.end_step()
    assert all(plane.isfinite().all() for plane in planes), "masked columns must hold numbers, too"
    assert mask.shape == (len(tokens), 1, 1, planes[0].shape[2])
    seen = []
    for row in range(len(tokens)):
        looked_at = mask[row, 0, 0] == 0
        assert bool((mask[row, 0, 0][~looked_at] == -torch.inf).all())
        for plane in planes[1:]:
            assert torch.equal(plane[row][:, looked_at], planes[0][row][:, looked_at])
        seen.append(planes[0][row, 0, looked_at, 0].tolist())
    return seen


def test_a_row_sees_its_own_tokens_and_nothing_else() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([1, 2, 3]), make_run([4])])
    assert take_step(rows, [10, 11]) == [[1, 2, 3, 10], [4, 11]]


def test_a_newcomer_longer_than_all_rows_changes_nothing_for_them() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([1]), make_run([2, 3])])
    take_step(rows, [10, 11])
    rows.join([make_run(list(range(100, 300)))])
    assert take_step(rows, [20, 21, 22]) == [[1, 10, 20], [2, 3, 11, 21], [*range(100, 300), 22]]


def test_a_row_that_leaves_is_replaced_by_the_last_one() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([value]) for value in (1, 2, 3, 4)])
    assert rows.drop([2, 0]) == [(3, 0)]
    assert take_step(rows, [10, 11]) == [[4, 10], [2, 11]]


def test_rows_that_stay_keep_their_place_unless_they_fill_a_gap() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([value]) for value in (1, 2, 3, 4, 5)])
    assert rows.drop([1, 4]) == [(3, 1)]
    assert take_step(rows, [10, 11, 12]) == [[1, 10], [4, 11], [3, 12]]


def test_only_columns_of_the_longest_row_are_looked_at() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run(list(range(50))), make_run([1, 2])])
    rows.drop([0])
    assert rows.num_columns == 2
    assert rows.begin_step().shape[-1] == 3


def test_no_token_is_lost_when_a_block_has_to_grow_again_and_again() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([1, 2]), make_run([3])])
    seen: list[list[float]] = []
    for step in range(300):
        seen = take_step(rows, [10 + step, 1000 + step])
    assert seen == [[1, 2, *range(10, 310)], [3, *range(1000, 1300)]]


def test_a_block_in_which_rows_come_and_go_does_not_grow_without_end() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([1.0] * 20)])
    for _ in range(100):
        rows.join([make_run([2.0] * 20)])
        for _ in range(20):
            take_step(rows, [0.0] * len(rows))
        rows.drop([0])
    assert rows._block.shape[3] < 200


def test_a_long_newcomer_gets_no_place_for_rows_that_have_left() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([1.0]) for _ in range(100)])
    rows.drop(list(range(1, 100)))
    rows.join([make_run([2.0] * 1000)])
    assert rows._block.shape[1] == 2
    assert take_step(rows, [3, 4]) == [[1, 3], [*[2] * 1000, 4]]


def test_what_a_row_leaves_behind_does_not_reach_the_next_one_in_its_place() -> None:
    poison = [float("nan")] * 60
    rows = RunningRows(SHAPE)
    rows.join([make_run([1.0] * 60), make_run(poison)])
    rows.drop([1])
    rows.join([make_run([2.0])])
    assert take_step(rows, [3, 4])[1] == [2, 4]


def test_what_a_row_leaves_behind_does_not_reach_the_one_that_fills_the_gap() -> None:
    rows = RunningRows(SHAPE)
    rows.join([make_run([float("nan")] * 5), make_run([1.0] * 5), make_run([2.0] * 200)])
    rows.drop([2])
    for _ in range(65):  # past the end of the block, so that the runs move to its front
        rows.begin_step()
        rows.end_step()
    rows.join([make_run([3.0] * 150)])  # they move on within the block
    rows.drop([2])
    rows.drop([0])
    rows.join([make_run([4.0] * 150)])  # the columns that they left are in sight again
    assert take_step(rows, [5, 6])[1] == [*[4] * 150, 6]


def test_a_large_block_is_given_back_when_the_last_row_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "_KEPT_NUMEL", 100)
    rows = RunningRows(SHAPE)
    rows.join([make_run([1, 2, 3])])
    rows.drop([0])
    assert rows._block.numel() == 0
    rows.join([make_run([4, 5])])
    assert take_step(rows, [6]) == [[4, 5, 6]]


def test_the_cache_says_how_many_columns_came_before() -> None:
    cache = RowCache()
    cache.aim(SHAPE.new_block(rows=2, columns=9), num_rows=2, start=1, column=5, num_new=3)
    assert cache.get_seq_length() == cache.get_seq_length(1) == 4


def test_a_forward_pass_writes_behind_the_past_and_sees_both() -> None:
    block = SHAPE.new_block(rows=1, columns=4)
    block[:, 0, :, :2] = 7
    cache = RowCache()
    cache.aim(block, num_rows=1, start=0, column=2, num_new=2)
    keys, values = cache.update(torch.ones(1, 2, 2, 3), torch.full((1, 2, 2, 3), 2.0), 1)
    assert keys[0, 0, :, 0].tolist() == [7, 7, 1, 1]
    assert values[0, 0, :, 0].tolist() == [7, 7, 2, 2]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["join", "drop", "step"]), st.integers(0, 2**16)), max_size=40))
def test_after_any_sequence_of_joins_steps_and_departures_every_row_sees_its_tokens(
    actions: list[tuple[str, int]],
) -> None:
    rows = RunningRows(SHAPE)
    expected: list[list[float]] = []
    clock = 0.0
    for action, number in actions:
        clock += 1000
        if action == "join":
            newcomers = [
                [clock + token for token in range(1 + (number >> shift) % 90)] for shift in range(number % 3 + 1)
            ]
            rows.join([make_run(tokens) for tokens in newcomers])
            expected += newcomers
        elif action == "drop" and expected:
            leaving = [index for index in range(len(expected)) if number >> index & 1]
            for mover, gap in rows.drop(leaving):
                expected[gap] = expected[mover]
            del expected[len(expected) - len(leaving) :]
        elif expected:
            expected = [[*tokens, clock + index] for index, tokens in enumerate(expected)]
            assert take_step(rows, [tokens[-1] for tokens in expected]) == expected
    assert len(rows) == len(expected)
