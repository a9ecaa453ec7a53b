"""Register: keep the run's model as a version, with what it was made of and why it was let through."""

from lib.files import digest
from lib.fingerprints import Fingerprint, of_settings
from lib.records import EvaluationRecord, ModelRecord, RunRecord, encode
from lib.steps.context import Context


def register_inputs(context: Context) -> Fingerprint:
    return of_settings("model", name=context.settings.release.model.name)


def register_absent(context: Context, record: ModelRecord) -> str:
    found = context.platform.find_model(record.version)
    return (
        ""
        if found and found.sha256 == record.sha256
        else f"{record.name} version {record.version} is not registered any more"
    )


def register(context: Context, inputs: Fingerprint, previous: str) -> ModelRecord:
    """Register the run's model with what it was made of and why it was let through."""
    run, evaluation = context.get(RunRecord), context.get(EvaluationRecord)
    tags = {
        "outcome": evaluation.verdict.outcome,
        "metric": f"{evaluation.verdict.metric} {evaluation.verdict.candidate:.6g}",
        "commit": run.commit,
        "inputs": digest(encode(run.inputs)),
        "data": run.outputs["data.json"],
    }
    model = context.platform.register(run.run_id, tags)
    return ModelRecord(
        inputs=inputs, previous=previous, name=model.name, version=model.version, sha256=model.sha256, run_id=run.run_id
    )
