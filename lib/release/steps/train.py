"""Train: run model/train.py, unless the platform has a run with the same inputs."""

import functools
import re
from pathlib import Path

import msgspec

from lib.environment import lock
from lib.errors import ReleaseError, SettingsError
from lib.files import digest, digest_large, source_files
from lib.platforms.base import Job, Run
from lib.release import data_version, early
from lib.release.arguments import options
from lib.release.completion import complete
from lib.release.fingerprints import FILE, NOT_THERE, Fingerprint, of_files, of_settings
from lib.release.records import RunRecord, encode
from lib.release.steps.step import SCORING, Context, Step
from lib.settings import Settings, conda


class Train(Step[RunRecord]):
    """Train the model."""

    name = "train"
    record = RunRecord

    def inputs(self, context: Context) -> Fingerprint:
        """Return model/, the packages, the data, the parameters and Python's version; see Step.

        The compute is not among them: the same inputs give the same model on every machine.
        """
        train = context.settings.release.train
        parameters = of_settings("train.parameters", **train.parameters)
        if train.secrets:  # their names: a value is in no record
            parameters |= of_settings("train", secrets=sorted(train.secrets))
        root = context.settings.root
        files = of_files(root, "model", conda.PATH)
        if not _imports_evaluation(root):
            files.pop(SCORING, None)
        return files | _packages(root) | _data_file(context.settings) | data_version.fingerprint(context) | parameters

    def missing(self, context: Context, record: RunRecord) -> str:
        """Look for the run; see Step."""
        run = context.platform.runs.find(digest(encode(record.inputs)))
        return "" if run else f"run {record.run_id} is not in the workspace"

    def run(self, context: Context, inputs: Fingerprint, previous: str, forced: bool) -> RunRecord:
        """Train, or use the run with the same inputs: it may be complete although its record is missing; see Step."""
        job = _job(context, inputs)
        run = (None if forced else context.platform.runs.find(job.fingerprint)) or _train(context, job)
        return RunRecord(
            inputs=inputs,
            previous=previous,
            run_id=run.run_id,
            experiment=job.experiment,
            **msgspec.structs.asdict(run.place),
            metrics=run.metrics,
            outputs=run.outputs,
        )


def _imports_evaluation(root: Path) -> bool:
    """Return whether a training depends on model/evaluation.py: if not, a change of it makes only evaluate stale."""
    files = [path for path in source_files(root / "model") if path.suffix == ".py" and path.name != "evaluation.py"]
    return any(re.search(r"^\s*(import|from)\b.*\bevaluation\b", path.read_text(), re.MULTILINE) for path in files)


def _packages(root: Path) -> Fingerprint:
    """Fingerprint the model's Python and packages: without the latter if the conda file has changed since the lock."""
    locked = lock.read(root)
    packages = {"packages": locked.model_digest[:12]} if locked else {}
    return packages | {"python": lock.python_minor(root, locked)}


def _data_file(settings: Settings) -> Fingerprint:
    """Fingerprint the file to train on by the name that it has in the settings; empty if there is no such setting."""
    name, file = settings.release.train.data, settings.data
    if file is None:
        return {}
    if not file.is_file():
        return {name: NOT_THERE}
    return {name: f"{FILE}{digest_large(file, settings.folder / 'data.sha256')}"}


def _job(context: Context, inputs: Fingerprint) -> Job:
    settings, data = context.settings.release, context.settings.data
    if data and not data.is_file():
        raise SettingsError(
            f'train.data = "{settings.train.data}" in config/release.toml: there is no file {data}\n'
            'Put it there, or write data = "" to use the data that model/train.py brings'
        )
    return Job(
        experiment=settings.model.experiment,
        compute=settings.train.compute,
        parameters=settings.train.parameters,
        fingerprint=digest(encode(inputs)),
        commit=context.commit,
        timeout_s=settings.train.timeout_s,
        data=data,
        options=options(context.settings.root / "model", settings.train.parameters),
        complete=functools.partial(complete, context, inputs),
        secrets=context.settings.secrets_of(settings.train.secrets),
        redact=context.settings.redact,
    )


def _require_ready(context: Context) -> None:
    """Raise ReleaseError with all problems that a training of hours would end with."""
    environment, settings = context.forks.environment, context.settings
    environment.python()  # builds it
    findings = [*early.scripts(settings.root), *early.settings(settings, environment.packages())]
    for finding in findings:
        if finding.hint:
            context.tell(f"{finding.what}: {finding.hint}")
    if problems := [f"{finding.what}: {finding.fix}" for finding in findings if finding.fix]:
        raise ReleaseError("\n".join(problems))


def _train(context: Context, job: Job) -> Run:
    """Run a job. On Ctrl-C, offer to cancel a run that continues without this process, as it does on Azure."""
    context.platform.preflight()
    _require_ready(context)
    try:
        return context.platform.runs.train(job, context.tell)
    except KeyboardInterrupt:
        run_id = context.platform.runs.running(job.fingerprint)
        question = f"Run {run_id} is still running; the next `invoke train` continues with it. Cancel it?"
        if run_id and context.ask(question):
            context.platform.runs.cancel(run_id)
        raise
