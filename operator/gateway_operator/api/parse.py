"""From a manifest to a ``DiscordGateway``, or to one sentence for each thing that is wrong with it.

The sentences name the path as a person wrote it and say what to write instead: they stand in conditions, in the output
of ``dgw local`` and in logs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway_operator.api.base import API_VERSION, KIND, wire_name
from gateway_operator.api.gateway import LONGEST_NAME, DiscordGateway
from gateway_operator.api.intents import did_you_mean

MOST_PROBLEMS: Final = 20

_BRANCHES: Final = ("int", "str")
"""How pydantic names the branches of the one union there is (a quantity)."""


class InvalidGateway(Exception):  # noqa: N818 - named for what was given, as the port's users say it
    """A manifest is not a valid ``DiscordGateway``; ``problems`` are sentences, each with a path."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def parse_gateway(manifest: Mapping[str, Any]) -> DiscordGateway:
    """The gateway that *manifest* describes. Raises :class:`InvalidGateway`."""
    kind, version = manifest.get("kind"), manifest.get("apiVersion")
    if kind != KIND:
        raise InvalidGateway([f"kind: {_shown(kind)} is not {KIND}."])
    if version != API_VERSION:
        raise InvalidGateway([f"apiVersion: {_shown(version)} is not {API_VERSION}."])
    try:
        # Through JSON, where types are strict and an enum is still written as its string: YAML makes dates of some
        # strings, and what the API server would refuse must not pass here.
        return DiscordGateway.model_validate_json(json.dumps(manifest, default=str), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = list(dict.fromkeys(_sentence(detail) for detail in details))
        raise InvalidGateway(problems[:MOST_PROBLEMS]) from None
    except (TypeError, ValueError) as error:
        raise InvalidGateway([f"the manifest cannot be read: {error}."]) from None


def _sentence(detail: ErrorDetails) -> str:
    location = detail["loc"]
    path = _path(location)
    return f"{path}: {_what(detail, location)}" if path else _what(detail, location)


def _what(detail: ErrorDetails, location: tuple[int | str, ...]) -> str:
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    name = str(location[-1]) if location else ""
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "is required."
    if kind == "extra_forbidden":
        return f"there is no such field{did_you_mean(name, _siblings(location))}"
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        word = {
            "greater_than_equal": "at least",
            "greater_than": "more than",
            "less_than_equal": "at most",
            "less_than": "less than",
        }[kind]
        limit = next(value for key, value in context.items() if key in ("ge", "gt", "le", "lt"))
        return f"{_shown(given)} must be {word} {limit:,}."
    if kind == "enum":
        allowed = str(context["expected"]).replace("'", "")
        return f"{_shown(given)} is not one of {allowed}."
    if kind == "string_pattern_mismatch" and location[-2:] == ("metadata", "name"):
        return f"{_shown(given)} must be lower-case letters, digits and '-', as names in Kubernetes are."
    if kind == "string_too_long" and location[-2:] == ("metadata", "name"):
        return f"must be at most {LONGEST_NAME} characters, since names of objects are built from it."
    if kind == "string_too_short":
        return "must not be empty."
    if name in _BRANCHES:
        return f"{_shown(given)} is neither a whole number nor a string; write it in quotes."
    if kind.endswith("_type") or kind in ("int_from_float", "int_parsing"):
        return f"{_shown(given)} is not {_type_of(kind)}."
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}."


def _type_of(kind: str) -> str:
    words = {
        "string_type": "a string",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "list_type": "a list",
        "dict_type": "an object",
        "model_type": "an object",
        "model_attributes_type": "an object",
    }
    return words.get(kind, f"of type {kind.removesuffix('_type')}")


def _shown(value: object) -> str:
    """*value* as YAML would have it, cut short; never the content of an object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 64 else f'"{value[:61]}…"'
    return "an object" if isinstance(value, Mapping) else "a list"


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for place, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif place == len(location) - 1 and part in _BRANCHES:
            continue  # a branch of a union, not of the manifest
        else:
            path += f".{part}" if path else part
    return path


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the object that holds the field at *location*."""
    model: type[BaseModel] | None = DiscordGateway
    for part in location[:-1]:
        if isinstance(part, int) or model is None:
            continue
        field = next((field for name, field in model.model_fields.items() if wire_name(name) == part), None)
        model = None if field is None else _model_in(field.annotation)
    return [] if model is None else [wire_name(name) for name in model.model_fields]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
