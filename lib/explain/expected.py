"""What a service has to answer: predictions of the registered model, by the model/ that it was trained from."""

import tempfile
from pathlib import Path

from lib.errors import ReleaseError
from lib.explain.serving import Serving
from lib.files import digest
from lib.forks import evaluation
from lib.forks.client import CallError
from lib.forks.evaluation import Expectation
from lib.git import DIRTY, committed
from lib.release import lineage
from lib.release.fingerprints import FILE, Fingerprint, of_files
from lib.release.records import ImageRecord
from lib.release.steps.step import Context


def expectation(context: Context, found: Serving, files: dict[str, str]) -> Expectation:
    """Return rows and what the registered model predicts for them: by model/ as it is here, where that is as it was,
    else as the commit has it. Where neither is, those that were recorded with the image.

    Raises ReleaseError where none of them is known, or the model cannot predict.
    """
    assert found.model  # noqa: S101 - whose files these are
    inputs, root = lineage.inputs_of(found.model.tags), context.settings.root
    wanted = {name: value for name, value in inputs.items() if name.startswith("model/")}
    if not wanted or lineage.shortened(of_files(root, "model")) == wanted:
        return predicted(context, root, files)
    commit = found.model.tags.get("commit", "").removesuffix(DIRTY)
    with tempfile.TemporaryDirectory() as folder:
        if check_out(root, commit, wanted, Path(folder)):
            return predicted(context, Path(folder), files)
    read = context.records.read(ImageRecord)
    if read and read[0].digest == found.image:
        return {"rows": read[0].rows, "predictions": read[0].predictions}
    raise ReleaseError(
        f"what it answers cannot be compared: model/ is not what version {found.version} was trained from, "
        "and this clone has no commit of that"
    )


def check_out(root: Path, commit: str, wanted: Fingerprint, folder: Path) -> bool:
    """Write files as a commit has them below a folder, and tell whether all are as wanted."""
    for name, sha256 in wanted.items():
        contents = committed(root, commit, name) if commit else []
        content = next((one for one in contents if f"{FILE}{digest(one)}".startswith(sha256)), None)
        if content is None:
            return False
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return True


def predicted(context: Context, root: Path, files: dict[str, str]) -> Expectation:
    """Let the model predict the first of its held-out rows by the model/train.py below a folder."""
    count = context.settings.release.limits.test_rows
    try:
        return context.forks.call(evaluation.expect, root=str(root), count=count, **files)
    except CallError as error:
        reason = str(error).splitlines()[0]
        raise ReleaseError(f"the registered model cannot predict its held-out rows: {reason}") from None
