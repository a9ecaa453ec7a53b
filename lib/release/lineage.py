"""What a registered version was made of, in tags that every platform keeps: how any later machine can tell it.

Records are of the last release alone; tags stay with their version.
"""

import getpass
import json
import os

from lib.files import digest
from lib.release.fingerprints import FILE, Fingerprint
from lib.release.records import EvaluationRecord, RunRecord, encode

INPUTS = "inputs-"
PARAMETER = "train.parameters."
PIECE = 1000  # characters of a tag, which Azure ML limits
KEPT = 16  # hexadecimal digits of a file's digest, as a tag keeps it


def tags_of(run: RunRecord, evaluation: EvaluationRecord) -> dict[str, str]:
    """Return the tags of a version: its verdict, its commit, its data, and what its run and its verdict depended on."""
    return {
        "outcome": evaluation.verdict.outcome,
        "metric": f"{evaluation.verdict.metric} {evaluation.verdict.candidate:.6g}",
        "commit": run.commit,
        "data": run.outputs["data.json"],
        **place_of(run),
        "trained_at": run.created_at,
        "inputs": digest(encode(run.inputs)),
        **pieces(shortened(run.inputs | evaluation.inputs)),
    }


def place_of(run: RunRecord) -> dict[str, str]:
    """Return what is known of where a run trained."""
    named = {"compute": run.compute, "host": run.host, "python": run.python, "environment": run.environment}
    return {name: value for name, value in named.items() if value}


def pieces(inputs: Fingerprint) -> dict[str, str]:
    """Return a fingerprint as JSON in pieces."""
    text = json.dumps(inputs, separators=(",", ":"))
    return {f"{INPUTS}{start // PIECE + 1:02}": text[start : start + PIECE] for start in range(0, len(text), PIECE)}


def inputs_of(tags: dict[str, str]) -> Fingerprint:
    """Return what a version depended on, its files' digests shortened; empty where its tags do not say."""
    text = "".join(tags[name] for name in sorted(tags) if name.startswith(INPUTS))
    return dict(json.loads(text)) if text else {}


def parameters_of(inputs: Fingerprint) -> Fingerprint:
    """Return the parameters among what a run depended on, each as JSON."""
    return {name.removeprefix(PARAMETER): value for name, value in inputs.items() if name.startswith(PARAMETER)}


def shortened(inputs: Fingerprint) -> Fingerprint:
    """Shorten the digests of files."""
    return {name: value[: len(FILE) + KEPT] if value.startswith(FILE) else value for name, value in inputs.items()}


def metric_of(tags: dict[str, str]) -> tuple[str, float] | None:
    """Return the metric by which a version was let through, and its value; None where its tags do not say."""
    name, _, value = tags.get("metric", "").rpartition(" ")
    return (name, float(value)) if name else None


def someone() -> str:
    """Say who works here: in CI whoever started it, else the user and the machine."""
    ci = os.environ.get("GITHUB_ACTOR") or os.environ.get("BUILD_REQUESTEDFOR")
    try:
        return ci or f"{getpass.getuser()}@{os.uname().nodename}"
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}@{os.uname().nodename}"
