"""Register: keep the run's model as a version, with what it was made of and why it was let through."""

from lib.release.fingerprints import Fingerprint, of_settings
from lib.release.lineage import tags_of
from lib.release.records import EvaluationRecord, ModelRecord, RunRecord
from lib.release.steps.step import Context


def register_inputs(context: Context) -> Fingerprint:
    return of_settings("model", name=context.settings.release.model.name)


def register_absent(context: Context, record: ModelRecord) -> str:
    found = context.platform.models.find(record.version)
    return (
        ""
        if found and found.sha256 == record.sha256
        else f"{record.name} version {record.version} is not registered any more"
    )


def register(context: Context, inputs: Fingerprint, previous: str) -> ModelRecord:
    """Register the run's model with what it was made of and why it was let through."""
    run, evaluation = context.get(RunRecord), context.get(EvaluationRecord)
    model = context.platform.models.register(run.run_id, tags_of(run, evaluation))
    return ModelRecord(
        inputs=inputs, previous=previous, name=model.name, version=model.version, sha256=model.sha256, run_id=run.run_id
    )
