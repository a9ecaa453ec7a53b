"""Write a version's provenance into its tags, so that any machine can read it later.

Records describe the last release only; the tags stay with their version.
"""

import json

from lib.files import digest
from lib.platforms.outputs import SIGNATURE
from lib.release.fingerprints import FILE, Fingerprint
from lib.release.records import EvaluationRecord, RunRecord, encode

INPUTS = "inputs-"
PARAMETER = "train.parameters."
PIECE = 1000  # characters in a tag: Azure ML limits them
DIGITS = 16  # hexadecimal digits of a file's digest in a tag


def tags_of(run: RunRecord, evaluation: EvaluationRecord) -> dict[str, str]:
    """Return the tags of a version: its provenance, and the inputs of its run and of its verdict."""
    return {
        "outcome": evaluation.verdict.outcome,
        "metric": f"{evaluation.verdict.metric} {evaluation.verdict.candidate:.6g}",
        "commit": run.commit,
        "data": run.outputs["data.json"],
        **({"signature": run.outputs[SIGNATURE]} if SIGNATURE in run.outputs else {}),
        **_place(run),
        "trained_at": run.created_at,
        "inputs": digest(encode(run.inputs)),
        **_pieces(shorten(run.inputs | evaluation.inputs)),
    }


def _place(run: RunRecord) -> dict[str, str]:
    place = {"compute": run.compute, "host": run.host, "python": run.python, "environment": run.environment}
    return {name: value for name, value in place.items() if value}


def _pieces(inputs: Fingerprint) -> dict[str, str]:
    """Return a fingerprint as JSON, split into tags."""
    text = json.dumps(inputs, separators=(",", ":"))
    return {f"{INPUTS}{start // PIECE + 1:02}": text[start : start + PIECE] for start in range(0, len(text), PIECE)}


def inputs_of(tags: dict[str, str]) -> Fingerprint:
    """Return what a version depended on, with shortened digests; empty if its tags do not have it."""
    text = "".join(tags[name] for name in sorted(tags) if name.startswith(INPUTS))
    return dict(json.loads(text)) if text else {}


def parameters_of(inputs: Fingerprint) -> Fingerprint:
    """Return the training parameters in a run's inputs, each as JSON."""
    return {name.removeprefix(PARAMETER): value for name, value in inputs.items() if name.startswith(PARAMETER)}


def shorten(inputs: Fingerprint) -> Fingerprint:
    """Return a fingerprint with the digests of files as short as they are in tags."""
    return {name: value[: len(FILE) + DIGITS] if value.startswith(FILE) else value for name, value in inputs.items()}


def metric_of(tags: dict[str, str]) -> tuple[str, float] | None:
    """Return the name and the value of the metric that the gate used; None if the tags do not have it."""
    name, _, value = tags.get("metric", "").rpartition(" ")
    return (name, float(value)) if name else None
