"""The loopback Azure as Python sees it: started as a process of its own, asked over HTTP, ended with its starter."""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.azure.client import Identity, environment

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 300


class LoopbackAzure:
    """Runs between `with LoopbackAzure() as azure:`; `azure.environment` is what a client process needs.

    `workspace` and `group` name the workspace that is there from the beginning; without `workspace` there is none.
    """

    def __init__(
        self,
        workspace: str = "release",
        group: str = "release",
        location: str = "westeurope",
        folder: Path | None = None,
    ) -> None:
        self.workspace, self.group, self.location = workspace, group, location
        self.given_folder = folder
        self.identity = Identity()
        self.session = requests.Session()
        self.session.trust_env = False

    def __enter__(self) -> "LoopbackAzure":
        """Start it and wait until it answers."""
        self.folder = self.given_folder or Path(tempfile.mkdtemp(prefix="loopback-azure-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log.txt"
        command = [sys.executable, "-m", "tests.azure", "--folder", str(self.folder), "--child"]
        command += ["--group", self.group, "--location", self.location, "--workspace", self.workspace]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert self.process.stdin and self.process.stdout  # they are pipes
        self.leash, self.output = self.process.stdin, self.process.stdout
        line = self.output.readline()
        if not line:
            said = self.log.read_text()
            self.__exit__()
            raise RuntimeError(f"the loopback Azure did not start:\n{said}")
        said = json.loads(line)
        self.port, self.authority = said["port"], said["ca"]
        self.base = f"http://127.0.0.1:{self.port}"
        self.environment = environment(self.port, self.authority, self.home())
        return self

    def __exit__(self, *_: Any) -> None:
        """End it, with everything that it started."""
        self.session.close()
        self.leash.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()
        if self.given_folder is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def home(self) -> Path:
        """Return a new home folder: the SDK caches addresses and logins there."""
        return Path(tempfile.mkdtemp(prefix="home-", dir=self.folder))

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Ask the admin interface."""
        answer = self.session.request(method, f"{self.base}{path}", timeout=60, **options)
        if not answer.ok:
            raise ValueError(answer.text)
        return answer.json()

    def requests(self, **patterns: str) -> list[dict[str, Any]]:
        """Return the requests whose method, host, path, status, known, fault ... match these regular expressions."""
        return list(self.call("GET", "/requests", params=patterns))

    def forget_requests(self) -> None:
        """Empty the log of requests (the file keeps them)."""
        self.call("DELETE", "/requests")

    def fault(self, kind: str, match: str = "", times: int = 1, **options: Any) -> None:
        """Let something go wrong: see tests/azure/faults.py."""
        self.call("POST", "/faults", json={"kind": kind, "match": match, "times": times, **options})

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that still wait for their occasion."""
        return list(self.call("GET", "/faults"))

    def forget_faults(self) -> None:
        """Take back the faults that have not happened yet."""
        self.call("DELETE", "/faults")

    def add_workspace(self, name: str, group: str, location: str = "westeurope") -> None:
        """Create a workspace as if it had always been there."""
        self.call("POST", "/workspaces", json={"name": name, "group": group, "location": location})

    def add_compute(self, workspace: str, name: str, kind: str) -> None:
        """Create a compute target as if it had always been there."""
        self.call("POST", "/computes", json={"workspace": workspace, "name": name, "kind": kind})

    def set_service(self, workspace: str, name: str, **record: Any) -> None:
        """Change the record of a service past everything that would notice, such as its state or its kvTags."""
        self.call("POST", "/services", json={"workspace": workspace, "name": name, "record": record})

    def state(self) -> dict[str, Any]:
        """Return what there is, by workspace."""
        return dict(self.call("GET", "/state"))


def main(run: Callable[..., None], arguments: Any) -> None:
    """Serve in the foreground, for `python -m tests.azure`."""
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="loopback-azure-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)

    def ready(server: Any) -> None:
        port, authority = server.state.port, str(server.authority.file)
        if arguments.workspace:
            server.state.group(arguments.group, arguments.location)
            server.state.workspace(arguments.workspace, arguments.group, arguments.location)
        told = json.dumps({"port": port, "ca": authority}) + "\n"
        sys.stdout.write(told if arguments.child else tell(folder, port, authority, arguments))
        sys.stdout.flush()

    try:
        run(folder, arguments.port, ready, arguments.child)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def tell(folder: Path, port: int, authority: str, arguments: Any) -> str:
    """Write what a client needs to a file that a shell can read, and return it with a few words."""
    home, file = folder / "home", folder / "environment.sh"
    home.mkdir(exist_ok=True)
    variables = environment(port, authority, home)
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    file.write_text(text)
    there = f"# It has the workspace {arguments.workspace!r} in the group {arguments.group!r}, {arguments.location}.\n"
    return (
        f"# The loopback Azure. In another shell: `. {file}`, or `( . {file}; COMMAND )`.\n"
        f"{text}{there if arguments.workspace else ''}"
        f"# Requests: http://127.0.0.1:{port}/requests and {folder / 'requests.jsonl'}. Ctrl-C ends it.\n"
    )
