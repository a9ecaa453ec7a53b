"""Register: add the run's model to the registry as a version, with its provenance and its verdict."""

from lib.release.fingerprints import Fingerprint, of_settings
from lib.release.lineage import tags_of
from lib.release.records import EvaluationRecord, ModelRecord, RunRecord
from lib.release.steps.step import Context, Step


class Register(Step[ModelRecord]):
    """Register the run's model."""

    name = "register"
    record = ModelRecord

    def inputs(self, context: Context) -> Fingerprint:
        """Return the model's name; see Step."""
        return of_settings("model", name=context.settings.release.model.name)

    def missing(self, context: Context, record: ModelRecord) -> str:
        """Look for the version; see Step."""
        model = context.platform.models.find(record.version)
        registered = model and model.sha256 == record.sha256
        return "" if registered else f"{record.name} version {record.version} is no longer registered"

    def run(self, context: Context, inputs: Fingerprint, previous: str, _forced: bool) -> ModelRecord:
        """Register the run's model; see Step."""
        run, evaluation = context.records.get(RunRecord), context.records.get(EvaluationRecord)
        model = context.platform.models.register(run.run_id, tags_of(run, evaluation))
        return ModelRecord(
            inputs=inputs,
            previous=previous,
            name=model.name,
            version=model.version,
            sha256=model.sha256,
            run_id=run.run_id,
        )
