"""The arguments that the scripts in model/ accept, as far as their calls of add_argument say so."""

import ast
import contextlib
from collections.abc import Iterable
from pathlib import Path

from lib.files import source_files


def declared(model: Path) -> dict[str, str]:
    """Return each option that a script declares (`--n-estimators`), with the script's file and line."""
    return {
        argument.value: f"{path.parent.name}/{path.name}, line {node.lineno}"
        for path in source_files(model)
        if path.suffix == ".py"
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("add_argument", "option")
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value.startswith("--")
    }


def options(model: Path, parameters: Iterable[str]) -> dict[str, str]:
    """Return the options of parameters that the scripts declare with dashes only; others are passed verbatim."""
    known = declared(model)
    return {
        name: f"--{name.replace('_', '-')}"
        for name in parameters
        if f"--{name}" not in known and f"--{name.replace('_', '-')}" in known
    }


def _parse(path: Path) -> ast.Module:
    with contextlib.suppress(SyntaxError, ValueError):  # the early checks report it
        return ast.parse(path.read_bytes())
    return ast.Module([], [])
