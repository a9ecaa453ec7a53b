"""Train: run model/train.py, unless the same inputs were trained before."""

import sys

import msgspec

from lib.errors import SettingsError
from lib.files import digest, digest_large
from lib.platforms.base import Job, Run
from lib.release.fingerprints import NOT_THERE, Fingerprint, of_files, of_settings
from lib.release.records import RunRecord, encode
from lib.release.steps.step import Context
from lib.settings import Settings, conda


def train_inputs(context: Context) -> Fingerprint:
    train = context.settings.release.train
    python = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    # Not where it runs: the same inputs give the same model there.
    chosen = of_settings("train.parameters", **train.parameters)
    return of_files(context.settings.root, "model", conda.PATH) | of_data(context.settings) | chosen | python


def of_data(settings: Settings) -> Fingerprint:
    """Fingerprint the file to train on, where there is one, under the name that it has in the settings."""
    name, file = settings.release.train.data, settings.data
    if file is None:
        return {}
    if not file.is_file():
        return {name: NOT_THERE}
    return {name: f"sha256:{digest_large(file, settings.folder / 'data.sha256')}"}


def train_absent(context: Context, record: RunRecord) -> str:
    run = context.platform.runs.find(digest(encode(record.inputs)))
    return "" if run else f"run {record.run_id} is not in the workspace"


def train(context: Context, inputs: Fingerprint, previous: str) -> RunRecord:
    """Train, unless a run of the same inputs was completed and only its record is missing."""
    settings, data = context.settings.release, context.settings.data
    if data and not data.is_file():
        raise SettingsError(
            f'train.data = "{settings.train.data}" in config/release.toml: there is no file {data}\n'
            'Put it there, or write data = "" for the data that model/train.py brings itself'
        )
    job = Job(
        experiment=settings.model.experiment,
        compute=settings.train.compute,
        parameters=settings.train.parameters,
        fingerprint=digest(encode(inputs)),
        commit=context.commit,
        timeout_s=settings.train.timeout_s,
        data=data,
    )
    run = (None if context.forced else context.platform.runs.find(job.fingerprint)) or run_job(context, job)
    return RunRecord(
        inputs=inputs,
        previous=previous,
        run_id=run.run_id,
        experiment=job.experiment,
        **msgspec.structs.asdict(run.place),
        metrics=run.metrics,
        outputs=run.outputs,
    )


def run_job(context: Context, job: Job) -> Run:
    """Run a job; one that goes on when its release is interrupted is cancelled if whoever interrupts it wants so."""
    try:
        return context.platform.runs.train(job, context.tell)
    except KeyboardInterrupt:
        run_id = context.platform.runs.running(job.fingerprint)
        if run_id and context.ask(f"Run {run_id} goes on, and the next `invoke train` takes it up. Cancel it?"):
            context.platform.runs.cancel(run_id)
        raise
