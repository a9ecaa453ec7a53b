"""What git knows of the project. Where there is no git or no repository, it knows nothing, and that is no error."""

import os.path
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

DIRTY = "-dirty"
UNCOMMITTED = "not committed"


def git(root: Path, *arguments: str) -> str:
    """Return what git prints, or an empty string where it fails or is missing."""
    if not shutil.which("git"):
        return ""
    command = ["git", "-c", "core.quotePath=off", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def names_of(root: Path, commit: str) -> set[str]:
    """Return the names of a commit's files; empty where this clone does not have it."""
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
    """Return the commit of the project, marked where files or folders of these names differ from it or are not in it;
    empty outside of git. What git is told to ignore is not looked at.
    """
    found = git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    differing = git(root, "status", "--porcelain", "--untracked-files=all", "--", *inside(root, names))
    return found + DIRTY if found and differing else found


def inside(root: Path, names: Collection[str]) -> list[str]:
    """Return the names that are in the repository: asked about one outside of it, or beyond a link, git tells nothing,
    of the others neither.
    """
    top, base = Path(git(root, "rev-parse", "--show-toplevel")), root.resolve()
    paths = {name: Path(os.path.normpath(base / name)) for name in names}
    return [name for name, path in paths.items() if path.is_relative_to(top) and path.parent.resolve() == path.parent]


def origins(root: Path, since: str, names: Collection[str]) -> dict[str, list[str]]:
    """Say where the changes of files since a commit come from: commits, the newest first, and what is not committed."""
    found: dict[str, list[str]] = {name: [] for name in inside(root, names)}
    if not found:  # which git would take for all that there are
        return {}
    changed = git(root, "diff", "--name-only", "--relative", "HEAD", "--", *found)
    new = git(root, "ls-files", "--others", "--", *found)
    for name in {*changed.splitlines(), *new.splitlines()} & found.keys():
        found[name].append(UNCOMMITTED)
    for line, files in commits(root, since, found):
        for name in files & found.keys():
            found[name].append(line)
    return found


def commits(root: Path, since: str, names: Collection[str], until: str = "HEAD") -> list[tuple[str, set[str]]]:
    """Return the commits after one that changed some files, the newest first: each as a line, with its files."""
    if not since:
        return []
    span = f"{since.removesuffix(DIRTY)}..{until}"
    log = git(root, "log", "--format=%x00%h %cs %s", "--name-only", "--relative", span, "--", *names)
    parts = [part.splitlines() for part in log.split("\0") if part.strip()]
    return [(line, {name for name in files if name}) for line, *files in parts]
