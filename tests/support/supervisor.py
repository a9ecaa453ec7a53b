"""A small supervisor that plays boot and crash: it runs the command of a systemd unit, as Restart=always does."""

import configparser
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.project import Project, clean_environment, eventually, processes

# Enough of systemctl and loginctl: what is enabled, active and lingering is kept as files in a folder.
MANAGER = """#!{python}
import pathlib, sys
state = pathlib.Path({state!r})
program, arguments = pathlib.Path(sys.argv[0]).name, [each for each in sys.argv[1:] if not each.startswith("--")]
if program == "loginctl" and arguments[0] == "enable-linger":
    if (state / "no-linger").exists():
        sys.exit("Could not enable linger: Access denied")
    (state / "linger").touch()
elif program == "loginctl":
    print("Linger=yes" if (state / "linger").exists() else "Linger=no")
elif arguments[0] == "enable":
    (state / arguments[1]).touch()
elif arguments[0] in ("is-enabled", "is-active"):
    sys.exit(not (state / arguments[1]).exists())
"""


def install_manager(folder: Path) -> dict[str, str]:
    """Write programs systemctl and loginctl, and return the environment in which they are found."""
    for name in ("systemctl", "loginctl"):
        program = folder / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(MANAGER.format(python=sys.executable, state=str(folder)))
        program.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(folder / "config")}


class Supervisor:
    """Runs a unit's command in a folder, and again whenever it ends."""

    def __init__(self, unit: Path, project: Project) -> None:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names with capitals stay as they are
        parser.read(unit)
        self.command = [part.replace("%%", "%") for part in shlex.split(parser["Service"]["ExecStart"])]
        self.folder = parser["Service"]["WorkingDirectory"].replace("%%", "%")
        self.project = project
        self.ended = False
        self.process: subprocess.Popen[bytes] | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.ended:
            self.process = subprocess.Popen(self.command, cwd=self.folder, env=clean_environment())
            self.process.wait()

    def crash(self) -> None:
        """Kill the command, which starts again."""
        assert self.process
        self.process.kill()

    def __enter__(self) -> "Supervisor":
        self.thread.start()
        eventually(lambda: self.process)
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        self.crash()
        self.thread.join()


def power_cut(project: Project) -> None:
    """End everything that runs in a project's folder, as a power cut does."""
    for pid in processes(project):
        os.kill(pid, signal.SIGKILL)
