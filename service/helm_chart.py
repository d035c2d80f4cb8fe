"""Writes into the Helm chart what has its source elsewhere: dashboards, rules, and the schema of the settings.

A chart is packaged from its own folder, so it needs copies; a test compares them with what this module writes. The
chart's templates, values and the rest of its schema are written by hand.

Run: `python -m service.helm_chart docker helm/vl-genrm`.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.settings import Settings

MANAGED = frozenset({"port", "metrics_port", "api_keys", "api_keys_file", "engine_api_key", "database_url"})
"""Settings that the chart makes of other values, because a secret, a port or a volume goes with them."""

_COPIES = (("prometheus/rules", "*.yml", "rules"), ("grafana/dashboards", "*.json", "dashboards"))
_KEPT = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "pattern", "items")
"""Words of JSON Schema that say what is allowed, in a form that every draft has."""


def list_copies(docker: Path, chart: Path) -> dict[Path, Path]:
    """Each file of the chart that is a copy, and its source."""
    return {
        chart / target / source.name: source
        for folder, pattern, target in _COPIES
        for source in sorted((docker / folder).glob(pattern))
    }


def describe_settings() -> dict[str, Any]:
    """The JSON Schema of the chart's value `settings`: every setting that is not managed."""
    schema = Settings.model_json_schema()
    definitions = schema.get("$defs", {})
    return {
        "type": "object",
        "description": "Settings of the service without GENRM_, in small letters. Written by service.helm_chart.",
        "additionalProperties": False,
        "properties": {
            name: _describe(field, definitions) for name, field in schema["properties"].items() if name not in MANAGED
        },
    }


def insert_settings(schema: str) -> str:
    """The text of a values.schema.json with the current settings in it."""
    document = json.loads(schema)
    document["properties"]["settings"] = describe_settings()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _describe(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    choices = [_resolve(choice, definitions) for choice in field.get("anyOf", [field])]
    allowed = [{word: choice[word] for word in _KEPT if word in choice} for choice in choices]
    allowed = [
        choice for choice in allowed if choice != {"type": "null"}
    ]  # Helm takes null as "drop the default" itself
    if len(allowed) != 1 or not ({"type", "enum"} & allowed[0].keys()):
        raise ValueError(f"The chart's schema cannot say what this setting allows; teach service.helm_chart: {field}")
    return {"description": field["description"], **allowed[0]}


def _resolve(choice: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = choice.get("$ref")
    return definitions[reference.rsplit("/", 1)[1]] if reference else choice


def main(arguments: Sequence[str]) -> None:
    """Write the copies and the settings' schema into the chart that is named second."""
    if len(arguments) != 2 or not all(Path(argument).is_dir() for argument in arguments):
        sys.exit("Name two folders that exist: python -m service.helm_chart docker helm/vl-genrm")
    docker, chart = map(Path, arguments)
    copies = list_copies(docker, chart)
    for target, source in copies.items():
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
    for left in {file for target in copies for file in target.parent.iterdir()} - set(copies):
        left.unlink()  # its source is gone
    schema = chart / "values.schema.json"
    schema.write_text(insert_settings(schema.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
