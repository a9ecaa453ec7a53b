"""Training runs: submitted, followed, and read back from the run history."""

import contextlib
import datetime
import json
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import requests
from azureml.core import Experiment, Run, ScriptRunConfig, Workspace

from lib.errors import ReleaseError
from lib.files import source_files
from lib.platforms.azureml import computes, environments
from lib.platforms.azureml.faults import BROKEN, SDK_ERRORS, explained, patiently, status
from lib.platforms.azureml.workspace import MADE_BY
from lib.platforms.base import Job, Place, Tell
from lib.platforms.base import Run as CompletedRun
from lib.platforms.blobs import Blobs
from lib.platforms.outputs import OUTPUTS, missing, read_metrics
from lib.settings import SECRETS, Settings

FINAL = ("Completed", "Failed", "Canceled", "NotResponding")
FIRST_POLL_S, LONGEST_POLL_S = 0.5, 10.0
LOGS = ("user_logs/std_log.txt", "azureml-logs/70_driver_log.txt")
SHOWN_LINES = 5
SNAPSHOT_BYTES = 300 << 20  # azureml-core's own limit, which it checks when all has been copied
SENT = "data"  # the folder of a run's snapshot with the data


class Runs:
    """The runs of one experiment. A completed run counts once the tag `outputs` names its outputs by their content."""

    def __init__(self, workspace: Callable[[], Workspace], settings: Settings, blobs: Blobs) -> None:
        self.workspace = workspace
        self.settings = settings
        self.blobs = blobs

    @property
    def experiment(self) -> Experiment:
        """Return the experiment; Azure creates it when it is first named."""
        name = self.settings.release.model.experiment
        return patiently(f"experiment {name}", lambda: Experiment(self.workspace(), name))

    def of(self, fingerprint: str) -> list[Run]:
        """Return the runs of a fingerprint, the latest first."""
        experiment = self.experiment
        return patiently("the run history", lambda: list(Run.list(experiment, tags={"fingerprint": fingerprint})))

    def find(self, fingerprint: str) -> CompletedRun | None:
        """Return a completed run whose outputs are known."""
        return next((completed(run) for run in self.of(fingerprint) if "outputs" in run.tags), None)

    def running(self, fingerprint: str) -> str | None:
        """Return the id of a run that goes on, or that has completed without anyone reading its outputs."""
        return next((run.id for run in self.of(fingerprint) if unfinished(run)), None)

    def train(self, job: Job, tell: Tell) -> CompletedRun:
        """Take up a run of this job that goes on, or submit one; wait for it and read its outputs."""
        going = [run for run in self.of(job.fingerprint) if unfinished(run)]
        late = [run for run in going if age_s(run) > job.timeout_s and run.status not in FINAL]
        for run in late:
            self.cancel(run.id)
        chosen = next((run for run in going if run not in late), None)
        if chosen is not None:
            tell(f"takes up run {chosen.id}, which was {chosen.status}")
        return self.complete(chosen or self.submit(job), job, tell)

    def submit(self, job: Job) -> Run:
        """Submit a snapshot of model/ to its compute."""
        workspace, settings = self.workspace(), self.settings
        conda_file = settings.root / "config/conda_dependencies.yml"
        made = environments.for_training(settings.release.model.name, conda_file, job.compute)
        environment = environments.registered(workspace, made)
        here = job.compute in ("local", "env")
        target: Any = "local" if here else computes.training_target(workspace, settings, job.compute)
        place = Place(
            compute=job.compute,
            host=platform.node() if here else target.name,
            python=environments.python_of(made),
            environment="" if job.compute == "local" else f"{made.name}:{made.version}",
        )
        told = {"fingerprint": job.fingerprint, "commit": job.commit, "place": msgspec.json.encode(place).decode()}
        sent = None if here else job.data
        with snapshot(settings.root / "model", sent) as folder, without_secrets(), explained("submitting the run"):
            configuration = ScriptRunConfig(
                source_directory=str(folder),
                script="train.py",
                arguments=job.arguments(Path(SENT) / sent.name if sent else job.data),
                compute_target=target,
                environment=environment,
                max_run_duration_seconds=None if here else max(1, int(job.timeout_s)),
            )
            return self.submitted(configuration, MADE_BY | told)

    def submitted(self, configuration: ScriptRunConfig, tags: dict[str, str]) -> Run:
        """Submit once: where the answer is lost, the run history says whether there is a run."""
        run_id = f"{self.settings.release.model.experiment}_{uuid.uuid4().hex}"
        try:
            return self.experiment.submit(configuration, tags=tags, run_id=run_id)
        except SDK_ERRORS as error:
            if status(error) != BROKEN:
                raise
            begun = self.get(run_id)
            if configuration.run_config.target == "local":  # what was to run on this machine was in the lost answer
                self.cancel(run_id)
                raise
            patiently(f"the tags of run {run_id}", lambda: begun.set_tags(tags))
            return begun

    def complete(self, run: Run, job: Job, tell: Tell) -> CompletedRun:
        """Wait for a run, telling its log; keep its outputs. Raises ReleaseError where it does not complete."""
        log = Log(tell)
        status, details = self.wait(run, job, log)
        if status != "Completed":
            raise ReleaseError(failure(run, job, status, details, log))
        outputs, metrics = self.collect(run)
        for name, value in metrics.items():
            if name not in patiently("the run's metrics", run.get_metrics):
                patiently(f"metric {name}", lambda name=name, value=value: run.log(name, value))  # type: ignore[misc]
        patiently("the run's metrics", run.flush)
        found = patiently("the run's metrics", run.get_metrics)
        if missing := [name for name in metrics if name not in found]:
            raise ReleaseError(f"run {run.id} has no metric {', '.join(missing)} in its history\nTry again later")
        read_back = {"outputs": json.dumps(outputs), "metrics": json.dumps(metrics), "data": outputs["data.json"]}
        patiently("the run's tags", lambda: run.set_tags(read_back))
        return CompletedRun(run_id=run.id, place=place_of(run), metrics=metrics, outputs=outputs)

    def wait(self, run: Run, job: Job, log: "Log") -> tuple[str, dict[str, Any]]:
        """Wait until a run has ended, for as long as its job may take."""
        poll_s = FIRST_POLL_S
        until = time.monotonic() + job.timeout_s
        while True:
            details = patiently(f"run {run.id}", run.get_details)
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

    def collect(self, run: Run) -> tuple[dict[str, str], dict[str, float]]:
        """Download a run's outputs; return their digests, and the metrics. Raises ReleaseError where one is missing."""
        names = {name.removeprefix("./") for name in patiently(f"the files of run {run.id}", run.get_file_names)}
        if lacking := [filename for filename in OUTPUTS if f"outputs/{filename}" not in names]:
            patiently("the run's tags", lambda: run.tag("incomplete", lacking[0]))
            raise missing(lacking[0])
        kept = {filename: self.download(run, filename) for filename in OUTPUTS}
        return kept, read_metrics(self.blobs.read(kept["metrics.json"], "metrics.json"))

    def download(self, run: Run, filename: str) -> str:
        """Download one output and return its sha256."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / filename
            patiently(f"{filename} of run {run.id}", lambda: run.download_file(f"outputs/{filename}", str(place)))
            return self.blobs.add(place)

    def output(self, run_id: str, filename: str) -> Path:
        """Return an output, downloaded where it is not here yet, and verified."""
        run = self.get(run_id)
        sha256 = json.loads(run.tags.get("outputs", "{}")).get(filename)
        if sha256 is None:
            raise ReleaseError(f"run {run_id} has no output {filename}\n`invoke train --force` makes a new run")
        if not self.blobs.place(sha256).exists() and self.download(run, filename) != sha256:
            raise ReleaseError(f"{filename} of run {run_id} is damaged\n`invoke train --force` makes a new run")
        return self.blobs.read(sha256, f"{filename} of run {run_id}")

    def get(self, run_id: str) -> Run:
        """Return a run. Raises ReleaseError where there is none."""
        experiment = self.experiment
        try:
            return patiently(f"run {run_id}", lambda: Run(experiment, run_id))
        except ReleaseError as error:
            if "not found" not in str(error):
                raise
            raise ReleaseError(f"run {run_id} is not in the workspace\n`invoke train` makes a new one") from None

    def cancel(self, run_id: str) -> None:
        """Cancel a run."""
        run = self.get(run_id)
        patiently(f"cancelling run {run_id}", run.cancel)


class Log:
    """The log of a run, told line by line as it grows."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.offset = 0
        self.rest = b""
        self.lines: list[str] = []

    def follow(self, files: dict[str, str]) -> None:
        """Tell what has been added. A log that cannot be read now is read the next time."""
        address = next((files[name] for name in LOGS if name in files), None)
        if address is None:
            return
        try:
            answer = requests.get(address, headers={"Range": f"bytes={self.offset}-"}, timeout=30)
        except requests.RequestException:
            return
        if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
            return
        new = answer.content if answer.status_code == requests.codes.partial_content else answer.content[self.offset :]
        self.offset += len(new)
        *whole, self.rest = (self.rest + new).split(b"\n")
        for line in whole:
            self.lines.append(line.decode(errors="replace").rstrip())
            self.tell(self.lines[-1])

    def end(self) -> str:
        """Return the last lines, for an error."""
        shown = [line for line in [*self.lines, self.rest.decode(errors="replace")] if line.strip()][-SHOWN_LINES:]
        return "".join(f"\n  {line}" for line in shown)


def unfinished(run: Run) -> bool:
    """Tell whether a run is to be waited for, or to be read."""
    return run.status not in FINAL or (run.status == "Completed" and not {"outputs", "incomplete"} & run.tags.keys())


def completed(run: Run) -> CompletedRun:
    """Turn a run's tags into what a release needs to know of it."""
    return CompletedRun(
        run_id=run.id,
        place=place_of(run),
        metrics=json.loads(run.tags["metrics"]),
        outputs=json.loads(run.tags["outputs"]),
    )


def place_of(run: Run) -> Place:
    """Return where a run was sent to."""
    return msgspec.json.decode(run.tags.get("place", "{}"), type=Place)


def age_s(run: Run) -> float:
    """Return how long ago a run was created."""
    details = patiently(f"run {run.id}", run.get_details)
    begun = details.get("startTimeUtc")
    if not begun:
        return 0.0
    then = datetime.datetime.fromisoformat(begun.replace("Z", "+00:00")[:26].split("+")[0] + "+00:00")
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()


def failure(run: Run, job: Job, status: str, details: dict[str, Any], log: Log) -> str:
    """Say how a run ended, with the end of its log."""
    error = ((details.get("error") or {}).get("error") or {}).get("message") or ""
    reason = error.splitlines()[0] if error else "Azure does not say why"
    return f"run {run.id} on {job.compute} is {status}: {reason}{log.end() or last_of(error)}"


def last_of(error: str) -> str:
    """Return the last lines of an error's message."""
    return "".join(f"\n  {line}" for line in error.splitlines()[1:][-SHOWN_LINES:])


@contextlib.contextmanager
def snapshot(folder: Path, data: Path | None) -> Iterator[Path]:
    """Give a copy of the files of a folder that a user wrote, and of the data: what goes to Azure, and nothing else.

    Raises ReleaseError where the data is larger than Azure takes.
    """
    if data and data.stat().st_size > SNAPSHOT_BYTES:
        raise ReleaseError(
            f"{data} has {data.stat().st_size >> 20} MB; Azure ML takes {SNAPSHOT_BYTES >> 20} MB along with a run\n"
            'Train on this machine (train.compute = "local" or "env"), or let model/train.py fetch it from a datastore'
        )
    with tempfile.TemporaryDirectory() as made:
        for path in source_files(folder):
            place = Path(made) / "model" / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        if data:
            (Path(made) / "model" / SENT).mkdir(exist_ok=True)
            shutil.copyfile(data, Path(made) / "model" / SENT / data.name)
        yield Path(made) / "model"


@contextlib.contextmanager
def without_secrets() -> Iterator[None]:
    """Keep secrets out of the environment of what the SDK starts on this machine."""
    hidden = {name: os.environ.pop(name) for name in SECRETS if name in os.environ}
    try:
        yield
    finally:
        os.environ |= hidden
