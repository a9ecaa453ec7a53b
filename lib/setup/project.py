"""Look at the project's own files: .env, git, the environment of the image, the scripts."""

import stat
from collections.abc import Iterator
from pathlib import Path

from lib.errors import ReleaseError
from lib.git import git
from lib.platforms.base import Finding
from lib.settings.conda import PATH, pins, with_dependencies


def environment_file(root: Path) -> Iterator[Finding]:
    """Check that only its owner can read .env."""
    path = root / ".env"
    if not path.exists():
        yield Finding(what=".env", hint="there is none, so releases run on this machine: `invoke setup` makes it")
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding(what=".env", fix="others on this machine can read it: chmod 600 .env")
    else:
        yield Finding(what=".env, which only you can read")


def ignored(root: Path) -> Iterator[Finding]:
    """Check that git ignores .env."""
    if not git(root, "rev-parse", "--is-inside-work-tree"):
        return
    if git(root, "ls-files", "--error-unmatch", ".env"):
        yield Finding(what=".env", fix="it is in git: git rm --cached .env, and change what was secret in it")
    elif not git(root, "check-ignore", ".env"):
        yield Finding(what=".env", fix="git does not ignore it: add the line .env to .gitignore")
    else:
        yield Finding(what=".env is ignored by git")


def commit(root: Path) -> Finding:
    """Tell which commit the records will name."""
    head = git(root, "rev-parse", "--short", "HEAD")
    if not head:
        return Finding(
            what="git", hint="nothing is committed here, so records cannot name a commit: git init, git commit"
        )
    changed = len(git(root, "status", "--porcelain").splitlines())
    return Finding(what=f"git: commit {head}" + (f" and {changed} changed files" if changed else ""))


def agreement(root: Path) -> Finding:
    """Check that the environment of model/ and service/ has the pins of requirements.txt."""
    try:
        chosen = pins(root / PATH)
        with_dependencies(chosen, (root / "requirements.txt").read_text())
    except ReleaseError as error:
        return Finding(what=PATH, fix=str(error).replace("\n", ": "))
    return Finding(what=f"{PATH} agrees with requirements.txt")


def scripts(root: Path) -> Iterator[Finding]:
    """Check that a model and a service are there."""
    for name, functions in (("model/train.py", ("predict", "score")), ("service/score.py", ("init", "run"))):
        path = root / name
        text = path.read_text() if path.exists() else ""
        missing = [function for function in functions if f"def {function}(" not in text]
        fix = f"it must define {' and '.join(missing)}: see docs/own-model.md" if missing else ""
        yield Finding(what=name, fix=fix)
