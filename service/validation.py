"""Turns the complaints of pydantic about a request into one refusal in our own words.

The message says which field, what it was given, what it takes and what to do; values are shortened, never echoed whole.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import RefusalError

_SHOWN_PROBLEMS = 3
_SHOWN_CHARACTERS = 40
_LOOKED_AT_CHARACTERS = 400
_MAX_COMPARED_CHARACTERS = 64
"""Longer names resemble no field, and comparing takes the product of both lengths."""
_KIND_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "an object",
}
_ALLOWED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "int_type": "an integer",
    "dict_type": "an object",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "one of {expected}",
    "model_type": "an object",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} character",
    "string_type": "a string",
    "too_long": "at most {max_length} elements",
    "too_short": "at least {min_length} element",
    "tuple_type": "an array",
    "union_tag_invalid": "an object whose 'type' is one of {expected_tags}",
    "union_tag_not_found": "an object with a 'type'",
}


def refuse_invalid(problems: Sequence[Mapping[str, Any]], *, known: Sequence[str]) -> RefusalError:
    """The refusal for a request that does not fit its schema.

    problems: what `ValidationError.errors()` returns, at least one. known: names of the fields that the schema has.
    """
    first = problems[0]
    message = " ".join(_describe(problem, known) for problem in problems[:_SHOWN_PROBLEMS])
    if len(problems) > _SHOWN_PROBLEMS:
        message += f" And {len(problems) - _SHOWN_PROBLEMS} more."
    match first["type"]:
        case "json_invalid":
            return RefusalError("invalid_json", message)
        case "missing":
            return RefusalError("missing_field", message, param=name_param(first["loc"]))
        case "extra_forbidden":
            return RefusalError("unknown_field", message, param=name_param(first["loc"]))
        case _:
            return RefusalError("invalid_value", message, param=name_param(first["loc"]))


def name_param(location: Sequence[str | int]) -> str | None:
    """A field's path as a caller would write it: `images[0].url`. None for the whole body."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else ("." if path else "") + shorten(step)
    return path or None


def shorten(text: str) -> str:
    """The start of `text`, at most 40 characters, on one line, in Unicode. Of a long text the rest is not looked at."""
    start = replace_surrogates(" ".join(text[:_LOOKED_AT_CHARACTERS].split()))
    if len(start) <= _SHOWN_CHARACTERS and len(text) <= _LOOKED_AT_CHARACTERS:
        return start
    return start[:_SHOWN_CHARACTERS] + "…"


def replace_surrogates(text: str) -> str:
    """`text` with a question mark for each half of a surrogate pair, which no answer and no database can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _describe(problem: Mapping[str, Any], known: Sequence[str]) -> str:
    param = name_param(problem["loc"])
    match problem["type"]:
        case "json_invalid":
            return "The body is not valid JSON. Send an object in UTF-8, or a multipart form with its content type."
        case "missing":
            return f"Field {param!r} is missing. Add it." if param else "The body is missing. Send a JSON object."
        case "extra_forbidden":
            name = str(problem["loc"][-1])
            is_top_level = len(problem["loc"]) == 1
            is_comparable = is_top_level and len(name) <= _MAX_COMPARED_CHARACTERS
            near = difflib.get_close_matches(name, known, 1) if is_comparable else []
            hint = f" Did you mean {near[0]!r}?" if near else ""
            allowed = f" Known fields: {', '.join(known)}." if is_top_level and known else ""
            return f"Field {param!r} does not exist in this version.{hint}{allowed} Remove it."
        case kind:
            allowed = _ALLOWED.get(kind, "another value").format_map(problem.get("ctx", {}))
            subject = f"Field {param!r}" if param else "The body"
            return f"{subject} was given {_name_value(problem['input'])}; it takes {allowed}. Correct it."


def _name_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return shorten(str(value))
    if isinstance(value, str):
        return f"the string {shorten(value)!r}"
    return _KIND_NAMES.get(type(value), "a value of another kind")
