"""The project's git repository. Without git or a repository the results are empty: releases work without them."""

import os.path
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

DIRTY = "-dirty"
UNCOMMITTED = "not committed"


def git(root: Path, *arguments: str) -> str:
    """Return the output of git, or an empty string if git fails or is not installed."""
    if not shutil.which("git"):
        return ""
    # quotePath would escape the letters of names that are not ASCII.
    command = ["git", "-c", "core.quotePath=off", *arguments]
    process = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False)
    return process.stdout.strip() if process.returncode == 0 else ""


def names_of(root: Path, commit: str) -> set[str]:
    """Return the names of the files in a commit; empty if this clone does not have it."""
    return set(git(root, "ls-tree", "-r", "--name-only", commit).splitlines()) if commit else set()


def committed(root: Path, commit: str, name: str) -> bytes | None:
    """Return a file of a commit as git stores it, before any filter; None if there is no such commit or file."""
    if not shutil.which("git"):
        return None
    blob = subprocess.run(["git", "cat-file", "blob", f"{commit}:./{name}"], cwd=root, capture_output=True, check=False)
    return blob.stdout if blob.returncode == 0 else None


def filter_of(root: Path, name: str) -> str:
    """Return the filter through which git stores a file, "lfs" for example; empty if there is none."""
    value = git(root, "check-attr", "filter", "--", name).rpartition(": ")[2]
    return "" if value in ("unspecified", "unset") else value


def commit(root: Path, names: Collection[str]) -> str:
    """Return the current commit, with DIRTY behind it if files or folders of these names have uncommitted changes.

    Empty outside a repository. Files that git ignores do not count.
    """
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    changes = git(root, "status", "--porcelain", "--untracked-files=all", "--", *_inside(root, names))
    return head + DIRTY if head and changes else head


def origins(root: Path, since: str, names: Collection[str]) -> dict[str, list[str]]:
    """Return for each file what changed it since a commit: UNCOMMITTED, and lines of commits, the newest first."""
    result: dict[str, list[str]] = {name: [] for name in _inside(root, names)}
    if not result:  # without names, git would report every file
        return {}
    changed = git(root, "diff", "--name-only", "--relative", "HEAD", "--", *result)
    new = git(root, "ls-files", "--others", "--", *result)
    for name in {*changed.splitlines(), *new.splitlines()} & result.keys():
        result[name].append(UNCOMMITTED)
    for line, files in commits(root, since, result):
        for name in files & result.keys():
            result[name].append(line)
    return result


def commits(root: Path, since: str, names: Collection[str], until: str = "HEAD") -> list[tuple[str, set[str]]]:
    """Return the commits after `since` that changed some files, the newest first: each as a line, with its files."""
    if not since:
        return []
    span = f"{since.removesuffix(DIRTY)}..{until}"
    log = git(root, "log", "--format=%x00%h %cs %s", "--name-only", "--relative", span, "--", *names)
    parts = [part.splitlines() for part in log.split("\0") if part.strip()]
    return [(line, {name for name in files if name}) for line, *files in parts]


def _inside(root: Path, names: Collection[str]) -> list[str]:
    # Drop names outside the repository or behind a symbolic link: git fails for all names if one of them is.
    top, base = Path(git(root, "rev-parse", "--show-toplevel")), root.resolve()
    paths = {name: Path(os.path.normpath(base / name)) for name in names}
    return [name for name, path in paths.items() if path.is_relative_to(top) and path.parent.resolve() == path.parent]
