"""What makes work with the project easier and lies outside of it: offered once, and never over what is there."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lib import files
from lib.errors import ReleaseError
from lib.git import git
from lib.settings.editing import SettingsFiles

DECLINED = "SETUP_DECLINED"
INVOKE = Path(sys.executable).with_name("invoke")
PRE_COMMIT = Path(sys.executable).with_name("pre-commit")


class Offer(NamedTuple):
    """Something to be had: what it does, where it goes, and `take`, which makes it and says what it did."""

    name: str
    what: str
    place: Path
    take: Callable[[], str]


def open_offers(root: Path) -> Iterator[Offer]:
    """Give what is neither there nor declined."""
    refused = declined(root)
    found = (completion(root, os.environ.get("SHELL", "")), hooks(root))
    yield from (offer for offer in found if offer and offer.name not in refused and not offer.place.exists())


def declined(root: Path) -> list[str]:
    """Return the names of what was offered and declined."""
    return [name for name in (SettingsFiles(root).variable(DECLINED) or "").split(",") if name]


def completion(root: Path, shell: str) -> Offer | None:
    """Offer the completion of tasks and flags where the user's shell reads it by itself."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    places = {
        "bash": data / "bash-completion/completions/invoke",
        "zsh": data / "invoke/completion.zsh",
        "fish": config / "fish/completions/invoke.fish",
    }
    name = Path(shell).name
    if name not in places:
        return None
    what = f"complete its tasks and flags in {name}"
    return Offer("completion", what, places[name], lambda: write_completion(root, name, places[name]))


def write_completion(root: Path, shell: str, place: Path) -> str:
    """Write what invoke itself prints for a shell; zsh has to be told to read it."""
    script = run(root, INVOKE, "--print-completion-script", shell)
    files.write(place, script.encode())
    if shell != "zsh":
        return f"Written: {place}, which {'bash-completion' if shell == 'bash' else shell} reads in new shells"
    settings = (Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc").resolve()
    with settings.open("a") as file:
        file.write(f"\n# Completion of invoke\nsource {shlex.quote(str(place))}\n")
    return f"Written: {place}, and a line in {settings} that reads it"


def hooks(root: Path) -> Offer | None:
    """Offer git's hooks of .pre-commit-config.yaml, where there is a repository that has its hooks in it."""
    found = git(root, "rev-parse", "--git-path", "hooks/pre-commit")
    wanted = (root / ".pre-commit-config.yaml").exists()
    if not found or not wanted or git(root, "config", "core.hooksPath"):
        return None
    place = root / found
    what = "check style, types and imports before each commit, by a git hook"
    return Offer("hooks", what, place, lambda: run(root, PRE_COMMIT, "install").strip())


def run(folder: Path, *command: Path | str) -> str:
    """Run a program and return what it printed. Raises ReleaseError where it fails."""
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ReleaseError(f"{Path(command[0]).name} failed: {said[-1] if said else done.returncode}\nRun `make env`")
    return done.stdout
