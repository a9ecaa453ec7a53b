"""Training runs on Azure ML: submitted, followed, and read back from the run history."""

import datetime
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from azureml.core import Run as AzureRun

from lib.environment.model import ModelEnvironment
from lib.errors import ReleaseError
from lib.platforms.azureml.retry import retrying
from lib.platforms.azureml.run_history import History
from lib.platforms.azureml.run_log import LOG_LINES, Log
from lib.platforms.azureml.run_outputs import collect, download, log_metrics
from lib.platforms.azureml.submission import submit
from lib.platforms.azureml.workspace import Connection
from lib.platforms.base import Job, Place, Run, Tell
from lib.platforms.blobs import Blobs
from lib.platforms.outputs import model_files
from lib.settings import Settings

FINAL = ("Completed", "Failed", "Canceled", "NotResponding")
FIRST_POLL_S, LONGEST_POLL_S = 0.5, 10.0


class Runs:
    """The runs of one experiment. A completed run counts once its tag `outputs` names the digests of its outputs."""

    def __init__(self, connection: Connection, settings: Settings, blobs: Blobs, environment: ModelEnvironment) -> None:
        self._connection = connection
        self._environment = environment
        self._settings = settings
        self._blobs = blobs
        self._history = History(connection, settings.release.model.experiment)

    def find(self, fingerprint: str) -> Run | None:
        return next((_as_run(run) for run in self._history.query(fingerprint) if "outputs" in run.tags), None)

    def train(self, job: Job, tell: Tell) -> Run:
        unfinished = [run for run in self._history.query(job.fingerprint) if _is_unfinished(run)]
        late = [run for run in unfinished if _age_s(run) > job.timeout_s and run.status not in FINAL]
        for run in late:
            self.cancel(run.id)
        current = next((run for run in unfinished if run not in late), None)
        if current is not None:
            tell(f"continues with run {current.id}, which was {current.status}")
        return self._complete(current or self._submit(job), job, tell)

    def running(self, fingerprint: str) -> str | None:
        return next((run.id for run in self._history.query(fingerprint) if _is_unfinished(run)), None)

    def cancel(self, run_id: str) -> None:
        run = self.get(run_id)
        retrying(f"cancelling run {run_id}", run.cancel)

    def output(self, run_id: str, filename: str) -> Path:
        run = self.get(run_id)
        sha256 = _outputs(run).get(filename)
        if sha256 is None:
            raise ReleaseError(f"run {run_id} has no output {filename}\n`invoke train --force` makes a new run")
        if not self._blobs.place(sha256).exists():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / Path(filename).name
                download(run, filename, path)
                if self._blobs.add(path) != sha256:
                    raise ReleaseError(f"{filename} of run {run_id} is damaged\n`invoke train --force` makes a new run")
        return self._blobs.read(sha256, f"{filename} of run {run_id}")

    def outputs(self, run_id: str) -> dict[str, str]:
        return _outputs(self.get(run_id))

    def model(self, run_id: str) -> Path:
        outputs = self.outputs(run_id)
        files = {name: outputs[name] for name in model_files(outputs)}
        for name in files:
            self.output(run_id, name)  # downloads it
        return self._blobs.link(files, f"run {run_id}")

    def get(self, run_id: str) -> AzureRun:
        """Return the SDK's object of a run. Raises ReleaseError if the run does not exist."""
        run = retrying(f"run {run_id}", lambda: self._history.lookup(run_id))
        if run is None:
            raise ReleaseError(f"run {run_id} is not in the workspace\n`invoke train` makes a new one")
        return run

    def _submit(self, job: Job) -> AzureRun:
        return submit(self._connection, self._settings, self._history, self._environment, job)

    def _complete(self, run: AzureRun, job: Job, tell: Tell) -> Run:
        """Wait for a run, pass its log to `tell`, and keep its outputs. Raises ReleaseError if it does not complete."""
        log = Log(tell)
        status, details = self._wait(run, job, log)
        if status != "Completed":
            raise ReleaseError(_failure(run, job, status, details, log))
        outputs, metrics = collect(run, job, self._blobs)
        log_metrics(run, metrics)
        read_back = {"outputs": json.dumps(outputs), "metrics": json.dumps(metrics), "data": outputs["data.json"]}
        retrying("the run's tags", lambda: run.set_tags(read_back))
        return Run(run_id=run.id, place=_place(run), metrics=metrics, outputs=outputs)

    def _wait(self, run: AzureRun, job: Job, log: Log) -> tuple[str, dict[str, Any]]:
        """Wait until a run has ended, for at most the job's time limit."""
        poll_s = FIRST_POLL_S
        until = time.monotonic() + job.timeout_s
        while True:
            details = retrying(f"run {run.id}", run.get_details)
            log.follow(details.get("logFiles") or {})
            if details["status"] in FINAL:
                return details["status"], details
            if time.monotonic() > until:
                self.cancel(run.id)
                raise ReleaseError(
                    f"run {run.id} was {details['status']} after train.timeout_s = {job.timeout_s:g}, and was cancelled"
                    f"{log.end()}"
                )
            time.sleep(min(poll_s, max(0.01, until - time.monotonic())))
            poll_s = min(poll_s * 1.5, LONGEST_POLL_S)


def _outputs(run: AzureRun) -> dict[str, str]:
    return dict(json.loads(run.tags.get("outputs", "{}")))


def _is_unfinished(run: AzureRun) -> bool:
    """Return whether a run must still be waited for, or its outputs still be read."""
    return run.status not in FINAL or (run.status == "Completed" and not {"outputs", "incomplete"} & run.tags.keys())


def _as_run(run: AzureRun) -> Run:
    return Run(
        run_id=run.id,
        place=_place(run),
        metrics=json.loads(run.tags["metrics"]),
        outputs=json.loads(run.tags["outputs"]),
    )


def _place(run: AzureRun) -> Place:
    return msgspec.json.decode(run.tags.get("place", "{}"), type=Place)


def _age_s(run: AzureRun) -> float:
    """Return how long ago a run started; 0 if it has not started."""
    start = retrying(f"run {run.id}", run.get_details).get("startTimeUtc")
    if not start:
        return 0.0
    # Azure writes seven digits of a second's fraction, Python reads six.
    time_utc = datetime.datetime.fromisoformat(start.replace("Z", "+00:00")[:26].split("+")[0] + "+00:00")
    return (datetime.datetime.now(datetime.UTC) - time_utc).total_seconds()


def _failure(run: AzureRun, job: Job, status: str, details: dict[str, Any], log: Log) -> str:
    """Describe how a run ended, with the end of its log."""
    error = ((details.get("error") or {}).get("error") or {}).get("message") or ""
    reason, *rest = error.splitlines() or ["Azure does not say why"]
    return f"run {run.id} on {job.compute} is {status}: {reason}" + (
        log.end() or "".join(f"\n  {line}" for line in rest[-LOG_LINES:])
    )
