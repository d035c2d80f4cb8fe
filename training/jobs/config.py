"""The configuration of a job: one YAML file, and `--set key=value` on top.

A schema is a frozen pydantic model; an unknown key is refused with the nearest one that exists. Where YAML 1.1
surprises, the rules of YAML 1.2 hold: only `true` and `false` are truth values (so `off` stays a word), `1e-4` is a
number, a date is text; and a key that is given twice is refused instead of the last one winning. Paths are relative to
the directory that a command is called from.
"""

import difflib
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genrm.errors import GenRMError

C = TypeVar("C", bound=BaseModel)

_RESOLVERS = {
    "tag:yaml.org,2002:bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    "tag:yaml.org,2002:int": re.compile(r"^[-+]?[0-9]+$"),
    "tag:yaml.org,2002:null": re.compile(r"^(?:~|null|Null|NULL|)$"),
    "tag:yaml.org,2002:merge": re.compile(r"^(?:<<)$"),
}


class ConfigError(GenRMError, ValueError):
    """A configuration cannot be used as given. Correct every key that the message names and run again."""


class Section(BaseModel):
    """A nested part of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobConfig(Section):
    """What every job can be told; a job adds its own fields and sections."""

    harmless: ClassVar[frozenset[str]] = frozenset({"output"})
    """Dotted keys that a resumed run may have other values for: they change where or how fast, never what."""

    output: Path = Field(description="Folder for everything that the job writes; it is resumed if it exists.")
    seed: int = Field(0, ge=0, description="Seed of every random choice of the job.")


def read_config(
    schema: type[C], file: Path | None, overrides: Sequence[str] = (), *, source: str = "The settings"
) -> C:
    """The configuration in a YAML file with overrides on top.

    file: None takes the schema's defaults. overrides: `key=value` or `section.key=value`, the value in YAML; later ones
    win. source: where settings without a file are from. Raises ConfigError that names everything that is wrong at once.
    """
    values = {} if file is None else read_mapping(file)
    for override in overrides:
        _override(values, override)
    return read_settings(schema, values, source=source if file is None else str(file))


def read_settings(schema: type[C], values: Mapping[str, Any], *, source: str = "The settings") -> C:
    """The configuration that these values are. source: where they are from. Raises ConfigError as `read_config`."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        problems = [_describe(schema, problem) for problem in error.errors(include_url=False)]
        raise ConfigError(f"{source} cannot be used. " + " ".join(problems)) from None


def dump_config(config: BaseModel) -> str:
    """YAML with every key, defaults included, that `read_config` reads back to an equal configuration."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, width=120)


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """The value that a YAML text stands for. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def describe_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two nested mappings, by dotted keys, as part of a sentence; empty if nothing does."""
    before, after = flatten(then), flatten(now)
    return "; ".join(
        f"{name} was {before.get(name)!r}, is {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


class _Loader(yaml.SafeLoader):
    """The safe loader with the resolvers above, which refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """The safe dumper with the same resolvers, so that a word that looks like a number is quoted."""


for _kind in (_Loader, _Dumper):
    _kind.yaml_implicit_resolvers = {}
    for _tag, _pattern in _RESOLVERS.items():
        _kind.add_implicit_resolver(_tag, _pattern, None)


def read_mapping(file: Path) -> dict[str, Any]:
    """The contents of a YAML file that holds a mapping or nothing. Raises ConfigError."""
    try:
        values = parse_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no config file {file}. Give the path of a YAML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read ({error}). Give a YAML file in UTF-8.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {_explain(error)}. Correct it.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds {_name(values)}; a config is a mapping, lines of `key: value`.")
    return values


def _override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key in place."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override} has no meaning; write --set key=value or --set section.key=value.")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML: {_explain(error)}.") from None
    for depth, key in enumerate(keys[:-1], 1):
        inner = values.get(key)
        if not isinstance(inner, dict | None):
            raise ConfigError(f"--set {override}: {'.'.join(keys[:depth])} is {_name(inner)}, not a section with keys.")
        section = dict(inner or {})  # a copy: an anchor in the file may have put the same mapping elsewhere too
        values[key] = section
        values = section
    values[keys[-1]] = value


def _explain(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} (line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1})"
    return " ".join(str(error).split())


def _describe(schema: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """One sentence or two about one complaint of pydantic."""
    location = problem["loc"]
    key = ".".join(map(str, location))
    match problem["type"]:
        case "missing":
            return f"Key {key!r} is missing; add it."
        case "extra_forbidden":
            allowed = _known_keys(schema, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), allowed, 1)
            nearest = ".".join([*map(str, location[:-1]), *near])
            return f"There is no key {key!r}; " + (
                f"did you mean {nearest!r}?" if near else f"allowed are {', '.join(allowed)}."
            )
        case _:
            subject = f"Key {key!r} is {_name(problem['input'])}: " if key else ""
            return f"{subject}{problem['msg'].removeprefix('Value error, ').rstrip('.')}."


def _known_keys(schema: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys that the section at `location` may have."""
    models = [schema]
    for step in location:  # an index, the name of an entry or the tag of a union leads to no field and is passed over
        fields = [model.model_fields[step] for model in models if step in model.model_fields]
        models = [inner for field in fields for inner in _models_in(field.annotation)] if fields else models
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - an annotation is any object
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _name(value: object) -> str:
    """A value as it stands in a message, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
