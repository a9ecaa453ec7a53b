"""What git knows of the project. Where there is no git or no repository, it knows nothing, and that is no error."""

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


def committed(root: Path, commit: str, name: str) -> bytes | None:
    """Return a file as it is in a commit, None where there is no such commit or file."""
    if not shutil.which("git"):
        return None
    done = subprocess.run(["git", "show", f"{commit}:./{name}"], cwd=root, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def commit(root: Path) -> str:
    """Return the commit of the project, marked where files differ from it; empty outside of git."""
    return git(root, "describe", "--always", "--dirty", "--abbrev=40")


def origins(root: Path, since: str, names: Collection[str]) -> dict[str, list[str]]:
    """Say where the changes of files since a commit come from: commits, the newest first, and what is not committed."""
    if not names:
        return {}
    found: dict[str, list[str]] = {name: [] for name in names}
    changed = git(root, "diff", "--name-only", "--relative", "HEAD", "--", *names)
    new = git(root, "ls-files", "--others", "--", *names)
    for name in {*changed.splitlines(), *new.splitlines()} & found.keys():
        found[name].append(UNCOMMITTED)
    for line, files in commits(root, since, names):
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
