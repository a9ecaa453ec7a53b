"""Training runs on Azure ML: submitted, followed, and read back from the run history."""

import contextlib
import datetime
import json
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import requests
from azureml.core import Experiment, ScriptRunConfig
from azureml.core import Run as AzureRun

from lib.environment.model import ModelEnvironment
from lib.errors import ReleaseError
from lib.files import copy_sources
from lib.platforms.azureml import computes, environments
from lib.platforms.azureml.retry import SDK_ERRORS, mentions, retrying, translated
from lib.platforms.azureml.workspace import MADE_BY, Connection
from lib.platforms.base import Job, Place, Run, Tell
from lib.platforms.blobs import Blobs
from lib.platforms.outputs import OTHERS, kept, model_files, names, read_metrics
from lib.settings import SECRETS, Settings

FINAL = ("Completed", "Failed", "Canceled", "NotResponding")
FIRST_POLL_S, LONGEST_POLL_S = 0.5, 10.0
LOGS = ("user_logs/std_log.txt", "azureml-logs/70_driver_log.txt")
LOG_LINES = 5
SNAPSHOT_BYTES = 300 << 20  # azureml-core's limit; it checks only after it has copied everything
OUTPUTS = "outputs/"
DATA_FOLDER = "data"  # the folder of a run's snapshot that holds the training file


class Runs:
    """The runs of one experiment. A completed run counts once its tag `outputs` names the digests of its outputs."""

    def __init__(self, connection: Connection, settings: Settings, blobs: Blobs, environment: ModelEnvironment) -> None:
        self._connection = connection
        self._environment = environment
        self._settings = settings
        self._blobs = blobs
        self._experiment: Experiment | None = None

    def find(self, fingerprint: str) -> Run | None:
        return next((_as_run(run) for run in self._query(fingerprint) if "outputs" in run.tags), None)

    def train(self, job: Job, tell: Tell) -> Run:
        unfinished = [run for run in self._query(job.fingerprint) if _is_unfinished(run)]
        late = [run for run in unfinished if _age_s(run) > job.timeout_s and run.status not in FINAL]
        for run in late:
            self.cancel(run.id)
        current = next((run for run in unfinished if run not in late), None)
        if current is not None:
            tell(f"continues with run {current.id}, which was {current.status}")
        return self._complete(current or self._start(job), job, tell)

    def running(self, fingerprint: str) -> str | None:
        return next((run.id for run in self._query(fingerprint) if _is_unfinished(run)), None)

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
                self._download(run, filename, path)
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
        run = retrying(f"run {run_id}", lambda: self._lookup(run_id))
        if run is None:
            raise ReleaseError(f"run {run_id} is not in the workspace\n`invoke train` makes a new one")
        return run

    def _find_experiment(self) -> Experiment | None:
        """Return the experiment; None if it does not exist. The SDK's constructor would create it."""
        workspace, name = self._connection.find(), self._settings.release.model.experiment
        if self._experiment is None and workspace is not None:
            experiments = retrying(f"experiment {name}", lambda: list(Experiment.list(workspace, experiment_name=name)))
            self._experiment = next((experiment for experiment in experiments if experiment.name == name), None)
        return self._experiment

    def _query(self, fingerprint: str) -> list[AzureRun]:
        """Return the runs with a fingerprint, the newest first."""
        experiment = self._find_experiment()
        if experiment is None:
            return []
        return retrying("the run history", lambda: list(AzureRun.list(experiment, tags={"fingerprint": fingerprint})))

    def _start(self, job: Job) -> AzureRun:
        """Submit a snapshot of model/ to the job's compute."""
        workspace, settings = self._connection.get_or_create(), self._settings
        conda_file = settings.root / "config/conda_dependencies.yml"
        name = settings.release.model.name
        specification = environments.for_training(name, conda_file, job.compute, self._environment)
        environment = environments.registered(workspace, specification)
        here = job.compute in ("local", "env")
        target: Any = "local" if here else computes.training_target(workspace, settings, job.compute)
        place = Place(
            compute=job.compute,
            host=platform.node() if here else target.name,
            python=environments.python_version(specification, self._environment),
            environment="" if job.compute == "local" else f"{specification.name}:{specification.version}",
        )
        tags = {"fingerprint": job.fingerprint, "commit": job.commit, "place": msgspec.json.encode(place).decode()}
        upload = None if here else job.data
        with _snapshot(settings.root / "model", upload) as folder, _without_secrets(), translated("submitting the run"):
            configuration = ScriptRunConfig(
                source_directory=str(folder),
                script="train.py",
                arguments=job.arguments(Path(DATA_FOLDER) / upload.name if upload else job.data),
                compute_target=target,
                environment=environment,
                max_run_duration_seconds=None if here else max(1, int(job.timeout_s)),
            )
            return self._submit(configuration, MADE_BY | tags)

    def _submit(self, configuration: ScriptRunConfig, tags: dict[str, str]) -> AzureRun:
        """Submit once: if an answer was lost, the run history says whether the run exists."""
        prefix, run_ids = self._settings.release.model.experiment, [""]

        def submit() -> AzureRun:
            if (run := self._lookup(run_ids[-1])) is not None:
                if configuration.run_config.target != "local":
                    run.set_tags(tags)
                    return run
                run.cancel()  # the lost answer held the package to run on this machine
            run_ids.append(f"{prefix}_{uuid.uuid4().hex}")
            experiment = Experiment(self._connection.get_or_create(), self._settings.release.model.experiment)
            return experiment.submit(configuration, tags=tags, run_id=run_ids[-1])

        return retrying("submitting the run", submit)

    def _lookup(self, run_id: str) -> AzureRun | None:
        """Return the SDK's object of a run; None if the run does not exist."""
        experiment = self._find_experiment() if run_id else None
        if experiment is None:
            return None
        try:
            return AzureRun(experiment, run_id)
        except SDK_ERRORS as error:
            if mentions(error, "not found"):
                return None
            raise

    def _complete(self, run: AzureRun, job: Job, tell: Tell) -> Run:
        """Wait for a run, pass its log to `tell`, and keep its outputs. Raises ReleaseError if it does not complete."""
        log = Log(tell)
        status, details = self._wait(run, job, log)
        if status != "Completed":
            raise ReleaseError(_failure(run, job, status, details, log))
        outputs, metrics = self._collect(run, job)
        self._log_metrics(run, metrics)
        read_back = {"outputs": json.dumps(outputs), "metrics": json.dumps(metrics), "data": outputs["data.json"]}
        retrying("the run's tags", lambda: run.set_tags(read_back))
        return Run(run_id=run.id, place=_place(run), metrics=metrics, outputs=outputs)

    def _wait(self, run: AzureRun, job: Job, log: "Log") -> tuple[str, dict[str, Any]]:
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

    def _collect(self, run: AzureRun, job: Job) -> tuple[dict[str, str], dict[str, float]]:
        """Complete a run's outputs and keep them as blobs; return their digests and the metrics.

        Raises ReleaseError if one is missing, or if the model cannot be used; such a run is never found again.
        """
        files = {name.removeprefix("./") for name in retrying(f"the files of run {run.id}", run.get_file_names)}
        there = [name.removeprefix(OUTPUTS) for name in sorted(files) if name.startswith(OUTPUTS)]
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            try:
                for name in {*model_files(there), *OTHERS} & {*there}:
                    self._download(run, name, folder / name)
                job.complete(folder)
                outputs = kept(names(folder))
            except ReleaseError as error:
                reason = str(error).splitlines()[0]
                retrying("the run's tags", lambda: run.tag("incomplete", reason))
                raise
            for name in {*outputs} - {*there}:
                path = str(folder / name)
                retrying(f"{name} of run {run.id}", lambda name=name, path=path: run.upload_file(OUTPUTS + name, path))  # type: ignore[misc]
            return self._blobs.add_all(folder, outputs), read_metrics(folder / "metrics.json")

    def _log_metrics(self, run: AzureRun, metrics: dict[str, float]) -> None:
        """Write the metrics into the run's history. Raises ReleaseError if the history then lacks one.

        They are read back, because the SDK hides errors of the metric service and returns no metrics instead.
        """
        for name, value in metrics.items():
            if name not in retrying("the run's metrics", run.get_metrics):
                retrying(f"metric {name}", lambda name=name, value=value: run.log(name, value))  # type: ignore[misc]
        retrying("the run's metrics", run.flush)
        history = retrying("the run's metrics", run.get_metrics)
        if absent := [name for name in metrics if name not in history]:
            raise ReleaseError(f"run {run.id} has no metric {', '.join(absent)} in its history\nTry again later")

    def _download(self, run: AzureRun, filename: str, path: Path) -> None:
        """Download an output file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        retrying(f"{filename} of run {run.id}", lambda: run.download_file(OUTPUTS + filename, str(path)))


class Log:
    """The log of a run, passed on line by line while it grows."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._offset = 0
        self._partial_line = b""
        self._lines: list[str] = []

    def follow(self, files: dict[str, str]) -> None:
        """Pass on new lines. A log that cannot be read now is read at the next call."""
        address = next((files[name] for name in LOGS if name in files), None)
        if address is None:
            return
        try:
            answer = requests.get(address, headers={"Range": f"bytes={self._offset}-"}, timeout=30)
        except requests.RequestException:
            return
        if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
            return
        partial = answer.status_code == requests.codes.partial_content
        new = answer.content if partial else answer.content[self._offset :]
        self._offset += len(new)
        *lines, self._partial_line = (self._partial_line + new).split(b"\n")
        for line in lines:
            self._lines.append(line.decode(errors="replace").rstrip())
            self._tell(self._lines[-1])

    def end(self) -> str:
        """Return the last lines, for an error message."""
        lines = [*self._lines, self._partial_line.decode(errors="replace")]
        return "".join(f"\n  {line}" for line in [line for line in lines if line.strip()][-LOG_LINES:])


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


@contextlib.contextmanager
def _snapshot(folder: Path, data: Path | None) -> Iterator[Path]:
    """Yield a folder with what is uploaded and nothing else: a folder's source files, and the training file.

    Raises ReleaseError if the training file is larger than Azure accepts.
    """
    if data and data.stat().st_size > SNAPSHOT_BYTES:
        raise ReleaseError(
            f"{data} has {data.stat().st_size >> 20} MB; Azure ML accepts {SNAPSHOT_BYTES >> 20} MB with a run\n"
            'Train on this machine (train.compute = "local" or "env"), or let model/train.py fetch it from a datastore'
        )
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "model"
        copy_sources(folder, copy)
        if data:
            (copy / DATA_FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(data, copy / DATA_FOLDER / data.name)
        yield copy


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Hide secrets from the processes that the SDK starts on this machine."""
    hidden = {name: os.environ.pop(name) for name in SECRETS if name in os.environ}
    try:
        yield
    finally:
        os.environ |= hidden
