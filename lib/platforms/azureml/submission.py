"""Submit a training run: a snapshot of model/, the environment, and the compute to train on."""

import contextlib
import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from azureml.core import Experiment, ScriptRunConfig
from azureml.core import Run as AzureRun

from lib.environment.model import ModelEnvironment
from lib.errors import ReleaseError
from lib.files import copy_sources
from lib.platforms.azureml import computes, environments
from lib.platforms.azureml.retry import retrying, translated
from lib.platforms.azureml.run_history import History
from lib.platforms.azureml.workspace import MADE_BY, Connection
from lib.platforms.base import Job, Place
from lib.settings import SECRETS, Settings

SNAPSHOT_BYTES = 300 << 20  # azureml-core's limit; it checks only after it has copied everything
DATA_FOLDER = "data"  # the folder of a run's snapshot that holds the training file


def submit(
    connection: Connection, settings: Settings, history: History, environment: ModelEnvironment, job: Job
) -> AzureRun:
    """Submit a snapshot of model/ to the job's compute.

    Raises ReleaseError if secrets of train.py would have to travel: Azure ML v1 would keep them in the run.
    """
    here = job.compute in ("local", "env")
    if job.secrets and not here:
        raise ReleaseError(
            f"train.secrets cannot be sent to {job.compute}: Azure ML would show {', '.join(job.secrets)} in the run\n"
            "Put them into the workspace's Key Vault, where train.py reads them: "
            "azureml.core.Run.get_context().get_secret(NAME)"
        )
    workspace = connection.get_or_create()
    conda_file = settings.root / "config/conda_dependencies.yml"
    name = settings.release.model.name
    specification = environments.for_training(name, conda_file, job.compute, environment)
    registered = environments.registered(workspace, specification)
    target: Any = "local" if here else computes.training_target(workspace, settings, job.compute)
    place = Place(
        compute=job.compute,
        host=platform.node() if here else target.name,
        python=environments.python_version(specification, environment),
        environment="" if job.compute == "local" else f"{specification.name}:{specification.version}",
    )
    tags = {"fingerprint": job.fingerprint, "commit": job.commit, "place": msgspec.json.encode(place).decode()}
    upload = None if here else job.data
    with (
        _snapshot(settings.root / "model", upload) as folder,
        _own_secrets(settings, job),
        translated("submitting the run"),
    ):
        configuration = ScriptRunConfig(
            source_directory=str(folder),
            script="train.py",
            arguments=job.arguments(Path(DATA_FOLDER) / upload.name if upload else job.data),
            compute_target=target,
            environment=registered,
            max_run_duration_seconds=None if here else max(1, int(job.timeout_s)),
        )
        return _submit_once(connection, settings, history, configuration, MADE_BY | tags)


def _submit_once(
    connection: Connection, settings: Settings, history: History, configuration: ScriptRunConfig, tags: dict[str, str]
) -> AzureRun:
    """Submit once: if an answer was lost, the run history says whether the run exists."""
    name, run_ids = settings.release.model.experiment, [""]

    def submit() -> AzureRun:
        if (run := history.lookup(run_ids[-1])) is not None:
            if configuration.run_config.target != "local":
                run.set_tags(tags)
                return run
            run.cancel()  # the lost answer held the package to run on this machine
        run_ids.append(f"{name}_{uuid.uuid4().hex}")
        experiment = Experiment(connection.get_or_create(), name)
        return experiment.submit(configuration, tags=tags, run_id=run_ids[-1])

    return retrying("submitting the run", submit)


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
def _own_secrets(settings: Settings, job: Job) -> Iterator[None]:
    """Let the processes that the SDK starts on this machine find the secrets of train.py, and no others."""
    others = {name: os.environ.pop(name) for name in {*SECRETS, *settings.secrets} if name in os.environ}
    own = {name: secret.reveal() for name, secret in job.secrets.items()}
    os.environ |= own
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]
        os.environ |= others
