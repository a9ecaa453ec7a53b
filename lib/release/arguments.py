"""The arguments that the scripts in model/ accept, according to their calls of add_argument."""

import ast
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.files import source_files


def declared(model: Path) -> dict[str, str]:
    """Return each option that a script declares (`--n-estimators`), with the script's file and line."""
    return {
        name: f"{path.parent.name}/{path.name}, line {call.lineno}"
        for path in source_files(model)
        if path.suffix == ".py"
        for call in _calls(path)
        for name in _names(call)
        if name.startswith("--")
    }


def required(script: Path) -> dict[tuple[str, ...], int]:
    """Return the names of each argument that a script cannot do without (`("-n", "--n-trees")`), with the line."""
    return {
        names: call.lineno
        for call in _calls(script)
        if (names := _names(call)) and (_is_required(call) if names[0].startswith("-") else not _is_optional(call))
    }


def options(model: Path, parameters: Iterable[str]) -> dict[str, str]:
    """Return the options of parameters that the scripts declare with dashes only; others are passed verbatim."""
    known = declared(model)
    return {
        name: f"--{name.replace('_', '-')}"
        for name in parameters
        if f"--{name}" not in known and f"--{name.replace('_', '-')}" in known
    }


def _calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("add_argument", "option"):
            yield node


def _names(call: ast.Call) -> tuple[str, ...]:
    values = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    return tuple(value for value in values if isinstance(value, str))


def _is_required(call: ast.Call) -> bool:
    return any(word.arg == "required" and getattr(word.value, "value", None) is True for word in call.keywords)


def _is_optional(call: ast.Call) -> bool:
    """Return whether an argument without dashes may be left out."""
    return any(word.arg == "nargs" and getattr(word.value, "value", None) in ("?", "*") for word in call.keywords)


def _parse(path: Path) -> ast.Module:
    with contextlib.suppress(SyntaxError, ValueError):  # the early checks report it
        return ast.parse(path.read_bytes())
    return ast.Module([], [])
