"""Checks of the project's files: .env, git, the conda file, the scripts."""

import stat
from collections.abc import Iterator
from pathlib import Path

from lib.environment import building, lock
from lib.errors import ReleaseError
from lib.git import git, trouble
from lib.platforms.base import Finding
from lib.settings import conda


def dotenv(root: Path) -> Iterator[Finding]:
    """Check that only its owner can read .env."""
    path = root / ".env"
    if not path.exists():
        yield Finding(what=".env", hint="it does not exist, so releases run on this machine: `invoke setup` creates it")
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding(what=".env", fix="other users can read it: chmod 600 .env")
    else:
        yield Finding(what=".env, which only you can read")


def dotenv_ignored(root: Path) -> Iterator[Finding]:
    """Check that git ignores .env."""
    if not git(root, "rev-parse", "--is-inside-work-tree"):
        return
    if git(root, "ls-files", "--error-unmatch", ".env"):
        yield Finding(what=".env", fix="it is in git: git rm --cached .env, and replace the secrets in it")
    elif not git(root, "check-ignore", ".env"):
        yield Finding(what=".env", fix="git does not ignore it: add the line .env to .gitignore")
    else:
        yield Finding(what=".env is ignored by git")


def commit(root: Path) -> Finding:
    """Report the commit that records will have."""
    if words := trouble(root):
        return Finding(what="git", fix=words)
    head = git(root, "rev-parse", "--short", "HEAD")
    if not head:
        return Finding(what="git", hint="there is no commit, so records will have none: git init, git commit")
    changes = len(git(root, "status", "--porcelain").splitlines())
    return Finding(what=f"git: commit {head}" + (f" and {changes} changed files" if changes else ""))


def locked_packages(root: Path) -> Finding:
    """Check that the model's packages are locked as the conda file asks for them, and that its Python is here."""
    try:
        file = conda.read(root / conda.PATH)
    except ReleaseError as error:
        return Finding(what=conda.PATH, fix=str(error).replace(f"{conda.PATH}: ", "").replace("\n", "; "))
    locked = lock.read(root)
    if locked is None:
        return Finding(what=conda.PATH, hint=f"{lock.PATH} is not of today's content: the next task writes it")
    packages = f"{len(locked.packages)} packages for Python {locked.python}"
    missing = building.check({"python": locked.python})
    return Finding(what=f"{conda.PATH}: {packages}{'' if file.python else ', as for this tool'}", fix=missing)
