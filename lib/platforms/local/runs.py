"""Training runs on this machine, recorded in the workspace's database."""

import datetime
import shutil
import uuid
from pathlib import Path
from typing import Any

import msgspec

from lib.clock import now
from lib.errors import ReleaseError
from lib.platforms import logged_metrics
from lib.platforms.base import Job, Place, Run, Tell
from lib.platforms.blobs import Blobs
from lib.platforms.local.computes import Computes
from lib.platforms.local.store import Store
from lib.platforms.outputs import kept, model_files, names, read_metrics


class Runs:
    """The runs of one workspace. Their outputs are kept as blobs."""

    def __init__(self, folder: Path, store: Store, blobs: Blobs, computes: Computes) -> None:
        self._folder = folder
        self._store = store
        self._blobs = blobs
        self._computes = computes

    def find(self, fingerprint: str) -> Run | None:
        row = self._store.one(
            "SELECT * FROM runs WHERE fingerprint = ? AND status = 'Completed' ORDER BY rowid DESC LIMIT 1",
            fingerprint,
        )
        return _as_run(row) if row else None

    def train(self, job: Job, tell: Tell) -> Run:
        # The caller holds the workspace's lock. A run that is still marked as running has therefore lost its release.
        self._store.do("UPDATE runs SET status = 'Canceled' WHERE status = 'Running'")
        run_id = self._start(job)
        folder = self._folder / run_id
        folder.mkdir(parents=True)
        try:
            place = self._computes.train(job, folder, tell)
            metrics, outputs = self._collect(folder / "outputs", job)
        except BaseException as error:
            status = "Failed" if isinstance(error, Exception) else "Canceled"
            self._store.do("UPDATE runs SET status = ? WHERE run_id = ?", status, run_id)
            raise
        self._store.do(
            "UPDATE runs SET status = 'Completed', metrics = ?, outputs = ?, place = ? WHERE run_id = ?",
            metrics,
            outputs,
            msgspec.structs.asdict(place),
            run_id,
        )
        return Run(run_id=run_id, place=place, metrics=metrics, outputs=outputs)

    def running(self, fingerprint: str) -> str | None:
        return None  # a run on this machine ends with the release that started it

    def cancel(self, run_id: str) -> None:
        self._store.do("UPDATE runs SET status = 'Canceled' WHERE run_id = ? AND status = 'Running'", run_id)

    def outputs(self, run_id: str) -> dict[str, str]:
        row = self._store.one("SELECT * FROM runs WHERE run_id = ? AND status = 'Completed'", run_id)
        if row is None:
            raise ReleaseError(f"run {run_id} is not in the workspace\n`invoke train` makes a new one")
        outputs: dict[str, str] = row["outputs"]
        return outputs

    def output(self, run_id: str, filename: str) -> Path:
        sha256 = self.outputs(run_id).get(filename)
        if sha256 is None:
            raise ReleaseError(f"run {run_id} has no output {filename}\n`invoke train --force` makes a new run")
        return self._blobs.read(sha256, f"{filename} of run {run_id}")

    def model(self, run_id: str) -> Path:
        outputs = self.outputs(run_id)
        return self._blobs.link({name: outputs[name] for name in model_files(outputs)}, f"run {run_id}")

    def _start(self, job: Job) -> str:
        """Record that a run starts, and return its id."""
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        run_id = f"{job.experiment}-{stamp}-{uuid.uuid4().hex[:6]}"
        self._store.put(
            "runs",
            run_id=run_id,
            experiment=job.experiment,
            fingerprint=job.fingerprint,
            status="Running",
            parameters=job.parameters,
            commit_id=job.commit,
            started_at=now(),
        )
        return run_id

    def _collect(self, outputs: Path, job: Job) -> tuple[dict[str, float], dict[str, str]]:
        """Complete a run's outputs, keep them as blobs, and return its metrics and the outputs' digests."""
        job.complete(outputs, logged_metrics.read(outputs, outputs.parent / "log.txt"))
        digests = self._blobs.add_all(outputs, kept(names(outputs)))
        metrics = read_metrics(outputs / "metrics.json")
        shutil.rmtree(outputs)
        return metrics, digests


def _as_run(row: dict[str, Any]) -> Run:
    return Run(run_id=row["run_id"], place=Place(**row["place"]), metrics=row["metrics"], outputs=row["outputs"])
