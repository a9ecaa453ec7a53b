"""The project's git repository. Without git or a repository the results are empty: releases work without them."""

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

# Hooks of another repository export these. They would lead git there.
ELSEWHERE = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
}
NO_REPOSITORY = "not a git repository (or any"
DIRTY = "-dirty"
UNCOMMITTED = "not committed"


def git(root: Path, *arguments: str) -> str:
    """Return the output of git, or an empty string if git fails or is not installed."""
    process = _run(root, *arguments)
    return _text(process.stdout) if process and process.returncode == 0 else ""


def trouble(root: Path) -> str:
    """Return why git does not answer about the project's repository, in git's words, and the remedy.

    An empty string if it answers, or if there is no repository.
    """
    process = _run(root, "rev-parse", "--show-toplevel")
    if process is None:
        return "git is not installed, but there is a repository" if (root / ".git").exists() else ""
    words = _text(process.stderr)
    if process.returncode == 0 or NO_REPOSITORY in words:
        return ""
    remedy = f": git config --global --add safe.directory {root}" if "dubious ownership" in words else ""
    return f"{words.partition(chr(10))[0]}{remedy}"


def names_of(root: Path, commit: str) -> set[str]:
    """Return the names of the files in a commit; empty if this clone does not have it."""
    return set(git(root, "ls-tree", "-r", "--name-only", commit).splitlines()) if commit else set()


def committed(root: Path, commit: str, name: str) -> bytes | None:
    """Return a file of a commit as git stores it, before any filter; None if there is no such commit or file."""
    blob = _run(root, "cat-file", "blob", f"{commit}:./{name}")
    return blob.stdout if blob and blob.returncode == 0 else None


def filter_of(root: Path, name: str) -> str:
    """Return the filter through which git stores a file, "lfs" for example; empty if there is none."""
    value = git(root, "check-attr", "filter", "--", name).rpartition(": ")[2]
    return "" if value in ("unspecified", "unset") else value


def commit(root: Path, names: Collection[str]) -> str:
    """Return the current commit, with DIRTY behind it if files or folders of these names have uncommitted changes.

    Empty outside a repository, and in one that has none of these files: it belongs to something else, which happens to
    lie around the project. Files that git ignores do not count.
    """
    inside = _inside(root, names)
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if head and not (inside and git(root, "ls-files", "--", *inside)):
        return ""
    changes = git(root, "status", "--porcelain", "--untracked-files=all", "--", *inside)
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


def _run(root: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes] | None":
    """Run git, about the project's own repository and in English; return None if it is not installed."""
    if not shutil.which("git"):
        return None
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE} | {"LC_ALL": "C"}
    # quotePath would escape the letters of names that are not ASCII.
    command = ["git", "-c", "core.quotePath=off", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)


def _text(output: bytes) -> str:
    return output.decode(errors="replace").strip()


def _inside(root: Path, names: Collection[str]) -> list[str]:
    # Drop names outside the repository or behind a symbolic link: git fails for all names if one of them is.
    top, base = Path(git(root, "rev-parse", "--show-toplevel")), root.resolve()
    paths = {name: Path(os.path.normpath(base / name)) for name in names}
    return [name for name, path in paths.items() if path.is_relative_to(top) and path.parent.resolve() == path.parent]
