"""Settings for an emergency: if today's cannot be read, services must still be shown, stopped and started.

The workspace keeps the settings of the last task that changed something. A new clone has the commits of release.toml.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from lib import files, git
from lib.errors import SettingsError
from lib.settings import FILES, RELEASE, Settings, dotenv, load

KEPT = "settings.json"
COMMITS = 20

Texts = dict[str, str]


def keep(settings: Settings) -> None:
    """Keep the settings in the workspace, unless it has them already."""
    path, root = settings.folder / KEPT, settings.root
    content = json.dumps({name: files.read_text(root / name) for name in FILES if (root / name).is_file()}, indent=2)
    if not path.is_file() or path.read_text() != content:
        files.write(path, content.encode())


def load_or_last(root: Path) -> tuple[Settings, str]:
    """Return the settings; if config/ has a problem, the last ones without one, and a warning of one line.

    Raises SettingsError if there are none, or if .env has a problem: it says where the services are.
    """
    try:
        return load(root), ""
    except SettingsError as error:
        problem, *more = str(error).splitlines()
        rest = f" and {len(more)} more" if more else ""
        for texts, origin in _earlier(root):
            try:
                return load(root, texts), f"Warning: {problem}{rest} (these are the settings of {origin})"
            except SettingsError:
                continue
        raise


def _earlier(root: Path) -> Iterator[tuple[Texts, str]]:
    env = dotenv(root, [])
    if env is None:
        return
    path = root / env.local_workspace / KEPT
    if path.is_file():
        yield json.loads(path.read_text()), "the last task that changed something"
    for commit in git.git(root, "log", f"--max-count={COMMITS}", "--format=%h", "--", RELEASE).splitlines():
        contents = {name: git.committed(root, commit, name) for name in FILES}
        yield (
            {name: content.decode(errors="replace") for name, content in contents.items() if content},
            f"commit {commit}",
        )
