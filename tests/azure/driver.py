"""Runs a script as a run: logs, uploads ./outputs and ./logs, says how it ended. Standard library only.

`python driver.py DRIVER.json`, in the run's folder, wherever that is.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PERIOD_S = 0.4
TRIES = 4


class Driver:
    """One run."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.scope = settings["scope"]
        self.run = settings["run"]
        self.kill_file = Path("azureml-setup/killfile")
        self.log = Path(settings["log"])
        self.address = ""
        self.seen = -1

    def call(self, method: str, path: str, value: object = None) -> Any:
        """Send a request with the run's token."""
        headers = {"Authorization": "Bearer " + self.settings["token"], "Content-Type": "application/json"}
        data = None if value is None else json.dumps(value).encode()
        return json.loads(send(method, self.settings["service"] + path, headers, data) or b"null")

    def event(self, name: str, **data: object) -> None:
        """Report an event."""
        path = f"/history/v1.0{self.scope}/experiments/{self.settings['experiment']}/runs/{self.run}/events"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "name": f"Microsoft.MachineLearning.Run.{name}",
            "timestamp": stamp,
            "data": {"RunId": self.run, **data},
        }
        self.call("POST", path, event)

    def upload(self, names: list[str]) -> None:
        """Upload files as artifacts of the run."""
        path = f"/artifact/v2.0{self.scope}/artifacts/batch/metadata/ExperimentRun/dcid.{self.run}"
        answer = self.call("POST", path, {"paths": [{"path": name} for name in names]})
        for name, place in answer["artifactContentInformation"].items():
            self.put(place["contentUri"], Path(name))

    def put(self, address: str, path: Path) -> None:
        """Upload a file to its address."""
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": "application/octet-stream",
            "x-ms-version": "2021-08-06",
        }
        send("PUT", address, headers, path.read_bytes())

    def stream(self) -> None:
        """Upload the log if it has grown."""
        size = self.log.stat().st_size
        if size == self.seen:
            return
        self.seen = size
        if not self.address:
            path = f"/artifact/v2.0{self.scope}/artifacts/batch/metadata/ExperimentRun/dcid.{self.run}"
            answer = self.call("POST", path, {"paths": [{"path": self.settings["log"]}]})
            self.address = answer["artifactContentInformation"][self.settings["log"]]["contentUri"]
        self.put(self.address, self.log)

    def execute(self) -> int | None:
        """Run the script to its end and return its exit code, or None if it was cancelled."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self.settings["environment"]}
        with self.log.open("wb") as log:
            process = start(self.settings, environment, log.fileno())
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PERIOD_S)
                self.stream()
                if process.returncode is not None:
                    return int(process.returncode)
                if self.kill_file.exists():
                    process.kill()
                    process.wait()
                    return None

    def main(self) -> None:
        """Run the script and tell the run's history how it went."""
        self.event("Start")
        code = self.execute()
        files = [str(path) for top in ("outputs", "logs") for path in sorted(Path(top).rglob("*")) if path.is_file()]
        if files:
            self.upload(files)
        if code is None:
            self.event("Canceled")
        elif code == 0:
            self.event("Completed")
        else:
            self.fail(f"User program failed with exit code {code}")

    def fail(self, message: str) -> None:
        """Report that the run failed."""
        tail = self.log.read_text(errors="replace").splitlines()[-20:] if self.log.exists() else []
        error = {"code": "UserError", "message": "\n".join([message, *tail]), "messageParameters": {}, "details": []}
        self.event("Error", ErrorResponse={"error": error})
        self.event("Failed")


class Fork:
    """A process that the loopback Azure forked from one that has imported the libraries; used as a Popen."""

    def __init__(self, settings: dict[str, Any], environment: dict[str, str], output: int) -> None:
        self.returncode: int | None = None
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.connect(settings["forks"])
        python, *arguments = settings["command"]
        folder = str(Path.cwd())
        request = {"python": python, "arguments": arguments, "folder": folder, "environment": environment}
        socket.send_fds(self.connection, [json.dumps(request).encode()], [output])
        self.pid = int(self.connection.recv(100))

    def wait(self, timeout: float | None = None) -> None:
        """Wait for its end. Raises TimeoutExpired."""
        self.connection.settimeout(timeout)
        try:
            self.returncode = int(self.connection.recv(100))
        except TimeoutError:
            raise subprocess.TimeoutExpired("python", timeout or 0) from None

    def kill(self) -> None:
        """Kill it with what it started."""
        os.killpg(self.pid, signal.SIGKILL)


def start(settings: dict[str, Any], environment: dict[str, str], output: int) -> Any:
    """Start the script: as a fork if its interpreter has one, which saves seconds of imports."""
    if settings["forks"]:
        return Fork(settings, environment, output)
    return subprocess.Popen(
        settings["command"], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
    )


def send(method: str, url: str, headers: dict[str, str], data: bytes | None) -> bytes:
    """Send a request; again, if it fails for a reason that passes."""
    for attempt in range(TRIES):
        try:
            request = urllib.request.Request(url, data=data, headers=headers, method=method)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if (error.code < 500 and error.code != 429) or attempt == TRIES - 1:
                raise
        except OSError:
            if attempt == TRIES - 1:
                raise
        time.sleep(attempt + 1)
    return b""


if __name__ == "__main__":
    driver = Driver(json.loads(Path(sys.argv[1]).read_text()))
    try:
        driver.main()
    except Exception as problem:
        traceback.print_exc()
        driver.fail(f"the run's driver failed: {problem!r}")
        sys.exit(1)
