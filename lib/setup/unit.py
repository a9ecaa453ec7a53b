"""A systemd user unit that runs `invoke start --watch`: services come back after a reboot, a crash and a logout."""

import getpass
import os
import shutil
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lib.files import digest, write
from lib.platforms.base import Finding
from lib.settings import Settings

TEMPLATE = Path(__file__).with_name("unit.service")
LIMIT_S = 30.0


def name(root: Path) -> str:
    """Return the unit's name, which is different for each clone of the project."""
    return f"invoke-release-{digest(str(root).encode())[:8]}.service"


def path(root: Path) -> Path:
    """Return the unit's file."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))  # noqa: PTH111 - Path.home() fails without a name
    return config / "systemd/user" / name(root)


def command(root: Path) -> str:
    """Return the command for other supervisors, to be run in the project's folder."""
    return f"cd {root} && {sys.executable} -m invoke start --watch"


def text(root: Path, settings: Settings) -> str:
    """Return the unit's content."""
    podman = "podman.socket" if settings.containers else ""
    host = os.environ.get("DOCKER_HOST", "") if settings.containers else ""
    return string.Template(TEMPLATE.read_text()).substitute(
        root=str(root).replace("%", "%%"),
        python=_quote(sys.executable),
        podman=f"Wants={podman}\nAfter={podman}\n" if podman else "",
        host=f"Environment={_quote(f'DOCKER_HOST={host}')}\n" if host else "",
    )


def offer(root: Path, settings: Settings, ask: Callable[[str], bool]) -> Iterator[str]:
    """Ask whether to install the unit, install it, and yield a line about each thing that was done or refused."""
    if path(root).exists():
        return
    if _run("systemctl", "--user", "show-environment"):
        yield f"Keep the services running: let a supervisor run `{command(root)}`"
    elif ask("Start the services after a reboot and after a crash (a systemd unit of this user)?"):
        write(path(root), text(root, settings).encode())
        yield f"Written: {path(root)}"
        commands = [["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", name(root)]]
        commands += [["systemctl", "--user", "enable", "--now", "podman.socket"]] if settings.containers else []
        commands += [["loginctl", "enable-linger", _user()]]
        yield from (f"`{' '.join(each)}` failed: {error}" for each in commands if (error := _run(*each)))


def check(root: Path, settings: Settings) -> Iterator[Finding]:
    """Check an installed unit: it is current, enabled and active, and it runs without a login."""
    if not path(root).exists():
        return
    what = f"unit {name(root)}"
    enable = f"systemctl --user enable --now {name(root)}"
    user = _user()
    if path(root).read_text() != text(root, settings):
        yield Finding(what=what, fix=f"it is out of date: rm {path(root)}, then `invoke setup`")
    elif _run("systemctl", "--user", "is-enabled", name(root)) or _run("systemctl", "--user", "is-active", name(root)):
        yield Finding(what=what, fix=f"it is not enabled, or does not run: {enable}")
    elif "Linger=yes" not in _output("loginctl", "show-user", user, "--property=Linger"):
        yield Finding(what=what, fix=f"it ends when you log out: sudo loginctl enable-linger {user}")
    else:
        yield Finding(what=f"{what} runs, and starts at boot")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _quote(value: str) -> str:
    """Quote a value for systemd, which replaces % itself."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _run(*arguments: str) -> str:
    """Run a program, and return why it failed; an empty string if it succeeded."""
    if not shutil.which(arguments[0]):
        return f"{arguments[0]} is not installed"
    try:
        process = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {LIMIT_S:g} s"
    lines = [*process.stderr.splitlines(), *process.stdout.splitlines()]
    return next(iter(lines), f"exit code {process.returncode}") if process.returncode else ""


def _output(*arguments: str) -> str:
    if not shutil.which(arguments[0]):
        return ""
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=LIMIT_S).stdout
