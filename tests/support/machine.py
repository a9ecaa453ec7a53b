"""Programs that tests need beside the project's environment; tests/machine.sh installs them."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def needed(program: str) -> str:
    """Return a program's path. Without the program the test is skipped, but fails in CI, which installs it."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", str(Path(sys.executable).parent)]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        missing(f"{program} is not installed: tests/machine.sh installs it")
    return str(found)


def missing(what: str) -> None:
    """Skip a test for what this machine lacks; fail it in CI, so that CI silently skips nothing."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
