"""Steps that several runs have in common: worked on once, copied to the others."""

import threading
import time
from pathlib import Path

from training.jobs.shared_steps import do_once


class Step:
    """Fills a folder and counts how often it was asked to."""

    def __init__(self, folder: Path, text: str = "done") -> None:
        self.folder, self.text, self.times = folder, text, 0

    def __call__(self) -> None:
        self.times += 1
        (self.folder / "inner").mkdir(parents=True, exist_ok=True)
        (self.folder / "inner" / "file").write_text(self.text)
        (self.folder / ".lock").touch()

    def result(self) -> str:
        return (self.folder / "inner" / "file").read_text()


def test_a_step_with_the_same_key_is_copied(tmp_path: Path) -> None:
    one, other, different = (Step(tmp_path / name, name) for name in ("one", "other", "different"))
    do_once(tmp_path / "shared", "step", {"seed": 1, "rate": 2}, one.folder, one)
    do_once(tmp_path / "shared", "step", {"rate": 2, "seed": 1}, other.folder, other)
    do_once(tmp_path / "shared", "step", {"seed": 2, "rate": 2}, different.folder, different)
    assert (one.times, other.times, different.times) == (1, 0, 1)
    assert (other.result(), different.result()) == ("one", "different")
    assert not (other.folder / ".lock").exists()


def test_without_a_shared_folder_everybody_works(tmp_path: Path) -> None:
    step = Step(tmp_path / "one")
    for _ in range(2):
        do_once(None, "step", "key", step.folder, step)
    assert step.times == 2


def test_what_a_killed_run_left_is_replaced_by_what_another_finished(tmp_path: Path) -> None:
    one, other = Step(tmp_path / "one", "whole"), Step(tmp_path / "other")
    other.folder.mkdir()
    (other.folder / "torn").touch()
    do_once(tmp_path / "shared", "step", "key", one.folder, one)
    do_once(tmp_path / "shared", "step", "key", other.folder, other)
    assert other.result() == "whole"
    assert [path.name for path in other.folder.iterdir()] == ["inner"]


def test_a_step_that_failed_is_not_shared(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    one = Step(tmp_path / "one")
    try:
        do_once(tmp_path / "shared", "step", "key", tmp_path / "failed", fail)
    except KeyboardInterrupt:
        do_once(tmp_path / "shared", "step", "key", one.folder, one)
    assert one.times == 1


def test_of_two_at_the_same_time_one_works_and_the_other_waits(tmp_path: Path) -> None:
    steps = [Step(tmp_path / name) for name in ("one", "other")]

    def work(step: Step) -> None:
        def slowly() -> None:
            time.sleep(0.2)
            step()

        do_once(tmp_path / "shared", "step", "key", step.folder, slowly)

    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(step.times for step in steps) == [0, 1]
    assert [step.result() for step in steps] == ["done", "done"]
