"""What pip.conf and PIP_ variables say about indexes, in uv's variables: uv does not read pip's settings.

`make env` runs this file before anything is installed, so it imports the standard library only.
"""

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
LISTS = {"extra-index-url": " ", "find-links": ",", "trusted-host": " "}  # how uv separates several values


def uv_environment() -> dict[str, str]:
    """Return the environment for uv."""
    return {**uv_variables(), **os.environ}


def uv_variables() -> dict[str, str]:
    """Return pip's settings as uv's variables; those that are set already override them."""
    variables = {UV_NAMES[name]: LISTS.get(name, " ").join(value.split()) for name, value in _pip_settings().items()}
    if "UV_INDEX" in variables:
        # As pip does: otherwise uv takes a package from the first index that has any version of it.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if variables.get("UV_NO_INDEX", "").lower() in ("0", "false", "no", "off"):
        del variables["UV_NO_INDEX"]
    if not _can_cache():
        variables["UV_NO_CACHE"] = "true"
    return {name: value for name, value in variables.items() if value and name not in os.environ}


def _pip_settings() -> dict[str, str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    settings: dict[str, str] = {}
    for line in process.stdout.splitlines():  # section.name='value', variables as :env:.name
        place, _, value = line.partition("=")
        section, _, name = place.rpartition(".")
        if name in UV_NAMES and section in ("global", "install", ":env:"):
            settings[name] = str(ast.literal_eval(value))
    return settings


def _can_cache() -> bool:
    """Return whether uv can write its cache: a user of a container may have no home."""
    base = os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME', '')}/.cache"
    folder = Path(base)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_absolute() and folder.is_dir() and os.access(folder, os.W_OK)


if __name__ == "__main__":
    for variable, content in uv_variables().items():
        sys.stdout.write(f"export {variable}={shlex.quote(content)}\n")
