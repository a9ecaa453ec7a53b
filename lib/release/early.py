"""What can be known before a training that may take hours: scripts, imports, arguments, the metric, the hold-out."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from lib.files import source_files
from lib.forks import holdout, owner
from lib.platforms.base import Finding
from lib.release.arguments import declared, required
from lib.settings import Settings
from lib.settings.metrics import direction_of

TRAIN, SCORE = "model/train.py", "service/score.py"
TOML = "config/release.toml"


def scripts(root: Path) -> Iterator[Finding]:
    """Check the scripts alone: whether they parse, and have the functions that a release calls."""
    broken = list(_syntax(root))
    yield from broken or _entry_points(root)


def settings(values: Settings, packages: Path | None) -> Iterator[Finding]:
    """Check the scripts against the settings and the packages, unless a script does not parse.

    `packages` is the site-packages folder of the model's environment, None if it is not built.
    """
    if any(_syntax(values.root)):
        return
    yield from _arguments(values)
    yield from secrets(values)
    yield from _gate(values)
    if packages:
        yield from _imports(values.root, packages)


def secrets(values: Settings) -> Iterator[Finding]:
    """Check that the secrets of the scripts are set."""
    for key, names in values.release.secrets.items():
        for name in names:
            if name not in values.secrets:
                yield Finding(
                    what=f"{TOML}: {'.'.join(key)}", fix=f"{name} is not set: set it in .env or the environment"
                )


def _scripts(root: Path) -> list[Path]:
    return [path for folder in ("model", "service") for path in source_files(root / folder) if path.suffix == ".py"]


def _syntax(root: Path) -> Iterator[Finding]:
    if not (root / TRAIN).is_file():
        yield Finding(what=TRAIN, fix="it does not exist: write the training script there, see docs/own-model.md")
    for path in _scripts(root):
        try:
            ast.parse(path.read_bytes())
        except SyntaxError as error:
            yield Finding(what=_place(root, path, error.lineno or 1), fix=f"SyntaxError: {error.msg}")
        except ValueError as error:  # a null byte
            yield Finding(what=_place(root, path, 1), fix=str(error))


def _entry_points(root: Path) -> Iterator[Finding]:
    """Check that score.py can serve, and that functions in train.py can be imported."""
    if (root / SCORE).is_file():
        names = {node.name for node in _tree(root / SCORE).body if isinstance(node, ast.FunctionDef)}
        absent = [name for name in ("init", "run") if name not in names]
        fix = f"it must define {' and '.join(absent)}: see docs/own-model.md" if absent else ""
        yield Finding(what=SCORE, fix=fix)
    else:
        others = [path.name for path in sorted((root / "service").glob("*.py"))]
        hint = f"service/ has {', '.join(others)}: name your scorer score.py, if one of them is it" if others else ""
        what = f"no {SCORE}: the release builds a scorer from the model, predict() and the signature"
        yield Finding(what=what, hint=hint)
    tree = _tree(root / TRAIN)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in owner.NAMES and not owner.has_guard(tree):
            fix = f"{node.name}() is not used, because importing the script would train: "
            yield Finding(
                what=_place(root, root / TRAIN, node.lineno),
                hint=f'{fix}put the rest under `if __name__ == "__main__":`, or {node.name}() into model/evaluation.py',
            )
    yield Finding(what=TRAIN)


def _arguments(values: Settings) -> Iterator[Finding]:
    """Check that the script declares each parameter, if it declares any."""
    known = declared(values.root / "model")
    names = [*values.release.train.parameters, *(["data"] if values.release.train.data else [])]
    yield from _required(values.root, names)
    text = "".join(path.read_text(errors="replace") for path in _scripts(values.root) if path.parent.name == "model")
    if not known or "parse_known_args" in text:
        return
    for name in names:
        forms = (f"--{name}", f"--{name.replace('_', '-')}")
        if not any(option.startswith(form) for option in known for form in forms):
            setting = "train.data" if name == "data" else f"train.parameters.{name}"
            fix = f"{TRAIN} has no argument --{name}, only {', '.join(sorted(known))}"
            yield Finding(what=f"{TOML}: {setting}", fix=fix)


def _required(root: Path, settings: list[str]) -> Iterator[Finding]:
    """Check that the settings give each argument that the script requires."""
    given = tuple({form for name in settings for form in (f"--{name}", f"--{name.replace('_', '-')}")})
    for names, line in required(root / TRAIN).items():
        if not names[0].startswith("-"):
            fix = f"{names[0]} has no name with dashes, so no setting can give it: call it --{names[0]}"
            yield Finding(what=f"{TRAIN}, line {line}", fix=fix)
        elif not any(name.startswith(given) for name in names):  # argparse accepts the beginning of a name
            fix = f"{names[-1]} is required, and no setting gives it: add it to [train.parameters]"
            yield Finding(what=f"{TRAIN}, line {line}", fix=fix)


def _gate(values: Settings) -> Iterator[Finding]:
    """Check that the metric exists, and that the frozen hold-out can be read."""
    rule, root = values.release.gate, values.root
    if "score" not in owner.functions(str(root / "model")) and direction_of(rule.metric) is None:
        fix = f"scikit-learn has no metric {rule.metric}: define score(truth, predicted) in model/evaluation.py"
        yield Finding(what=f"{TOML}: gate.metric", fix=fix)
    if rule.holdout:
        try:
            rows = holdout.read(str(root / rule.holdout), rule.target).rows
            yield Finding(what=f"{rule.holdout}: {len(rows)} hold-out rows")
        except holdout.HoldoutError as error:
            if "needs pyarrow" not in str(error):  # the model's environment may have it
                yield Finding(what=f"{TOML}: gate.holdout", fix=str(error))


def _imports(root: Path, packages: Path) -> Iterator[Finding]:
    """Check that what the scripts import is in the model's environment. Imports in a `try` or `if` are optional."""
    own = {path.stem for path in _scripts(root)} | {path.parent.name for path in _scripts(root)}
    installed = {path.name.split(".")[0] for path in packages.iterdir()}
    for path in _scripts(root):
        for node in _tree(path).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.split(".")[0] for name in names} - own - installed - set(sys.stdlib_module_names):
                fix = f"no package of config/conda_dependencies.yml has the module {name}: list its package there"
                yield Finding(what=_place(root, path, node.lineno), fix=fix)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _place(root: Path, path: Path, line: int) -> str:
    return f"{path.relative_to(root).as_posix()}, line {line}"
