"""What a training run leaves: its output files and its metrics, which are read back from the run history."""

import tempfile
from pathlib import Path

from azureml.core import Run as AzureRun

from lib.errors import ReleaseError
from lib.platforms.azureml.retry import retrying
from lib.platforms.base import Job
from lib.platforms.blobs import Blobs
from lib.platforms.outputs import OTHERS, kept, model_files, names, read_metrics

OUTPUTS = "outputs/"


def collect(run: AzureRun, job: Job, blobs: Blobs) -> tuple[dict[str, str], dict[str, float]]:
    """Complete a run's outputs and keep them as blobs; return their digests and the metrics.

    Raises ReleaseError if one is missing, or if the model cannot be used; such a run is never found again.
    """
    files = {name.removeprefix("./") for name in retrying(f"the files of run {run.id}", run.get_file_names)}
    there = [name.removeprefix(OUTPUTS) for name in sorted(files) if name.startswith(OUTPUTS)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            for name in {*model_files(there), *OTHERS} & {*there}:
                download(run, name, folder / name)
            job.complete(folder, _logged(run))
            outputs = kept(names(folder))
        except ReleaseError as error:
            reason = str(error).splitlines()[0]
            retrying("the run's tags", lambda: run.tag("incomplete", reason))
            raise
        for name in {*outputs} - {*there}:
            path = str(folder / name)
            retrying(f"{name} of run {run.id}", lambda name=name, path=path: run.upload_file(OUTPUTS + name, path))  # type: ignore[misc]
        return blobs.add_all(folder, outputs), read_metrics(folder / "metrics.json")


def _logged(run: AzureRun) -> dict[str, float]:
    """Return the last number of each metric that the script has logged."""
    history = retrying("the run's metrics", run.get_metrics)
    values = {name: value[-1] if isinstance(value, list) and value else value for name, value in history.items()}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def log_metrics(run: AzureRun, metrics: dict[str, float]) -> None:
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


def download(run: AzureRun, filename: str, path: Path) -> None:
    """Download an output file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    retrying(f"{filename} of run {run.id}", lambda: run.download_file(OUTPUTS + filename, str(path)))
