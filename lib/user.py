"""The person who runs a task."""

import getpass
import os


def current_user() -> str:
    """Return who runs this task: in CI the person who started it, else the user and the machine."""
    ci = os.environ.get("GITHUB_ACTOR") or os.environ.get("BUILD_REQUESTEDFOR")
    try:
        return ci or f"{getpass.getuser()}@{os.uname().nodename}"
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}@{os.uname().nodename}"
