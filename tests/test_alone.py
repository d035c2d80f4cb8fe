"""A test that is marked `alone` has the machine for itself, however many processes run the tests."""

import fcntl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

Hold = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def hold(request: pytest.FixtureRequest) -> Hold:
    """The configuration's own function, for the machine of the given folder."""
    plugin = request.config.pluginmanager.get_plugin(str(Path(__file__).parent / "conftest.py"))
    assert plugin is not None
    found: Hold = plugin.hold_machine
    return found


def is_held(file: Path) -> bool:
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_tests_share_the_machine(tmp_path: Path, hold: Hold) -> None:
    with hold(tmp_path, alone=False), hold(tmp_path, alone=False):
        assert is_held(tmp_path / "machine.lock")
    assert not is_held(tmp_path / "machine.lock")


def test_one_that_wants_it_alone_waits_for_those_who_have_it_and_goes_before_those_who_come_later(
    tmp_path: Path, hold: Hold
) -> None:
    order: list[str] = []

    def take(name: str, *, alone: bool) -> None:
        with hold(tmp_path, alone=alone):
            order.append(name)
            if alone:
                assert is_held(tmp_path / "machine.lock")

    with hold(tmp_path, alone=False):
        first = threading.Thread(target=take, args=("alone",), kwargs={"alone": True})
        first.start()
        while not is_held(tmp_path / "queue.lock"):
            time.sleep(0.01)
        second = threading.Thread(target=take, args=("shared",), kwargs={"alone": False})
        second.start()
        second.join(0.2)
        assert order == []
    first.join()
    second.join()
    assert order == ["alone", "shared"]
