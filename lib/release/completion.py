"""Complete what a training left: try its model in a fresh process, and write the outputs that it may leave out."""

import contextlib
import json
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest_file
from lib.forks import rows, trial
from lib.forks.client import CallError
from lib.platforms import outputs
from lib.release import source
from lib.release.fingerprints import FILE, Fingerprint
from lib.release.steps.step import Context, frozen_holdout


def complete(context: Context, inputs: Fingerprint, folder: Path, logged: dict[str, float]) -> None:
    """Check the outputs in a folder, and add metrics.json, data.json, signature.json and the code.

    metrics.json, if the script has not written it, has the metrics that it has `logged`, and the gate's own.

    Raises ReleaseError if an output is missing, or if the model cannot be used.
    """
    files = outputs.names(folder)
    model = folder / outputs.model_files(files)[0].split("/")[0]
    own = outputs.holdout_of(files)
    if not own and not context.settings.release.gate.holdout:
        raise outputs.missing(outputs.HOLDOUTS[0])
    holdout = frozen_holdout(context) or folder / own
    has_metrics = outputs.METRICS in files
    if has_metrics:
        outputs.read_metrics(folder / outputs.METRICS)
    metrics = _try(context, model, holdout, folder / outputs.SIGNATURE, with_metrics=not has_metrics)
    if not has_metrics:
        (folder / outputs.METRICS).write_text(json.dumps(logged | metrics))
    if outputs.DATA not in files:
        (folder / outputs.DATA).write_text(json.dumps(_identity(context, inputs, holdout)))
    if known := next((name for name in outputs.TRAINING_ROWS if name in files), ""):
        _write_known_rows(context, folder / known, folder / outputs.ROWS)
    elif context.settings.data:
        _write_rows(context, context.settings.data, holdout, folder / outputs.ROWS)
    (folder / outputs.SOURCE).write_bytes(source.pack(context.settings.root))


def _try(context: Context, model: Path, holdout: Path, signature: Path, with_metrics: bool) -> dict[str, float]:
    rule = context.settings.release.gate
    try:
        return context.forks.call(
            trial.try_model,
            root=str(context.settings.root),
            model=str(model),
            holdout=str(holdout),
            target=rule.target,
            metric=rule.metric,
            with_metrics=with_metrics,
            signature_file=str(signature),
        )
    except CallError as error:
        reason = str(error).removeprefix(f"{trial.ModelError.__name__}: ")
        raise ReleaseError(f"the new model cannot be used in a fresh process: {reason}") from None


def _write_rows(context: Context, data: Path, holdout: Path, path: Path) -> None:
    """Note which rows the model was trained on, if the training file shows it."""
    target = context.settings.release.gate.target
    with contextlib.suppress(CallError):  # a file in a form of the script's own: the rows are not known
        context.forks.call(
            rows.write_training_rows, data=str(data), holdout=str(holdout), target=target, output=str(path)
        )


def _write_known_rows(context: Context, known: Path, path: Path) -> None:
    """Note the rows that the script says it was trained on. Raises ReleaseError if they cannot be read."""
    target = context.settings.release.gate.target
    try:
        context.forks.call(rows.write_known_rows, rows=str(known), target=target, output=str(path))
    except CallError as error:
        reason = str(error).splitlines()[0].removeprefix("HoldoutError: ")
        raise ReleaseError(f"outputs/{known.name} has no training rows in the form of a hold-out: {reason}") from None


def _identity(context: Context, inputs: Fingerprint, holdout: Path) -> dict[str, str]:
    """Return what identifies the data: the training file's digest, or that of the hold-out if there is no file."""
    train = context.settings.release.train
    if context.settings.data:
        return {"sha256": inputs[train.data].removeprefix(FILE), "file": context.settings.data.name}
    return {"holdout": digest_file(holdout)}
