"""Ask git about the project."""

import shutil
import subprocess
from pathlib import Path


def git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails or is missing."""
    if not shutil.which("git"):
        return None
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
