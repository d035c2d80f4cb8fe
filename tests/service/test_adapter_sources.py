"""Where adapters may come from: settings that can be read, and no way out of the folder."""

from pathlib import Path

import pytest

from service.adapter_sources import find_adapter, hide_root, parse_adapters
from service.engine_choice import build_engine
from service.errors import RefusalError, StartError
from service.metrics import Metrics
from service.settings import load_settings

FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of adapters with one in it, beside a folder that nobody may reach."""
    for folder in (tmp_path / "adapters" / "good", tmp_path / "secret"):
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text("{}")
    return (tmp_path / "adapters").resolve()


def test_names_and_sources_are_read_in_order() -> None:
    settings = load_settings(adapters=" a=some/hub-id , b = ./folder=x,")
    assert parse_adapters(settings) == {"a": "some/hub-id", "b": "./folder=x"}
    assert list(parse_adapters(settings)) == ["a", "b"]
    assert parse_adapters(load_settings()) == {}


@pytest.mark.parametrize(
    ("adapters", "complaint"),
    [
        ("a", "write name=folder-or-hub-id"),
        ("=x", "write name="),
        ("a=", "write name="),
        ("a b=x", "write name="),
        ("-a=x", "write name="),
        ("a=x,a=y", "'a' twice"),
        (",".join(f"a{n}=x" for n in range(17)), "17 adapters; the limit is 16"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused(adapters: str, complaint: str) -> None:
    with pytest.raises(StartError, match=complaint):
        parse_adapters(load_settings(adapters=adapters))


def test_a_folder_of_adapters_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no such folder"):
        parse_adapters(load_settings(adapter_folder=str(tmp_path / "none")))


@pytest.mark.parametrize("setting", [{"adapters": "a=x"}, {"adapter_folder": "."}])
def test_adapters_for_a_server_are_refused(setting: dict[str, str]) -> None:
    settings = load_settings(engine_url="http://127.0.0.1:9/v1", **setting)
    with pytest.raises(StartError, match="the server loads its own"):
        parse_adapters(settings)
    build_engine(settings, Metrics())  # not its business: the application refuses before


@pytest.mark.parametrize("path", ["good", "good/", "./good", "good/../good", "{root}/good"])
def test_a_folder_inside_is_found_however_it_is_written(path: str, root: Path) -> None:
    assert find_adapter(root, path.format(root=root)) == root / "good"


def test_the_folder_itself_may_be_the_adapter(root: Path) -> None:
    assert find_adapter(root / "good", ".") == root / "good"


@pytest.mark.parametrize(
    "path",
    ["..", "../secret", "good/../../secret", "{root}/../secret", "/", "/etc", "~", "some/hub-id", "\0", "x" * 5000, ""],
)
def test_what_is_outside_or_no_folder_is_refused(path: str, root: Path) -> None:
    (root.parent / "secret" / "inside").mkdir()
    with pytest.raises(RefusalError) as caught:
        find_adapter(root / "good", path.format(root=root)) if path else find_adapter(root, "nothing")
    assert (caught.value.code, caught.value.param) == ("invalid_value", "lora_path")
    assert str(root) not in str(caught.value)


def test_of_what_is_outside_not_even_its_existence_is_told(root: Path) -> None:
    messages = set()
    for path in ("../secret", "../nobody"):
        with pytest.raises(RefusalError) as caught:
            find_adapter(root, path)
        messages.add(str(caught.value).replace(path, ""))
    assert len(messages) == 1


def test_links_that_lead_out_are_refused_and_those_that_stay_inside_are_followed(root: Path) -> None:
    (root / "inside").symlink_to(root / "good")
    assert find_adapter(root, "inside") == root / "good"
    (root / "outside").symlink_to(root.parent / "secret")
    (root / "circle").symlink_to(root / "circle")
    for file in (*FILES, "calibration.json"):
        folder = root / f"borrowed-{file}"
        folder.mkdir()
        (folder / file).symlink_to(root.parent / "secret" / FILES[0])
    for path in ("outside", "circle", *(f"borrowed-{file}" for file in (*FILES, "calibration.json"))):
        with pytest.raises(RefusalError):
            find_adapter(root, path)


def test_messages_do_not_tell_where_the_folder_lies(root: Path) -> None:
    message = f"{root}/good/adapter_model.safetensors is missing; {root} is a folder."
    assert hide_root(message, root) == "good/adapter_model.safetensors is missing; . is a folder."
