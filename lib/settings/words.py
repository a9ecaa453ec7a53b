"""What a setting may be, in words for people."""

import difflib
from typing import Any

from msgspec import inspect

PLAIN = {
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.StrType: "a text",
    inspect.BoolType: "true or false",
    inspect.DictType: "a section",
    inspect.StructType: "a section",
}


def description(kind: Any) -> str:
    """Return what a type accepts: "one of lower, higher", "a whole number of 1 or more"."""
    return _describe(inspect.type_info(kind))


def meant(name: str, choices: list[str]) -> str:
    """Return which of the choices was probably meant, or all of them."""
    nearest = difflib.get_close_matches(name, choices, n=1)
    return f": did you mean {nearest[0]}?" if nearest else f": choose one of {', '.join(choices)}"


def _describe(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        schema = kind.extra_json_schema or {}
        return str(schema.get("description") or _describe(kind.type))
    if isinstance(kind, inspect.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_describe(part) for part in kind.types if not isinstance(part, inspect.NoneType))
    if isinstance(kind, inspect.ListType):
        return f"a list, each item {_describe(kind.item_type)}"
    return PLAIN.get(type(kind), "a text") + _limits(kind)


def _limits(kind: inspect.Type) -> str:
    if not isinstance(kind, inspect.IntType | inspect.FloatType):
        return ""
    if kind.gt is not None:
        return f" above {kind.gt:g}"
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:g} to {kind.le:g}"
    return f" of {kind.ge:g} or more" if kind.ge is not None else ""
