"""Try a model right after its training: it must load and predict in a process that has not trained it.

It runs beside the owner's model and imports the standard library only.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from lib.forks import holdout as holdouts
from lib.forks import signature, table
from lib.forks.owner import Owner

TRIED_ROWS = 1000  # spread over the hold-out
# How pickle names a class that only the training script had.
OF_SCRIPT = re.compile(r"attribute '(\w+)' on <module '__main__'|module '__main__' has no attribute '(\w+)'")


class ModelError(Exception):
    """A model that cannot be used. The message says why, and what to do."""


def try_model(
    root: str, model: str, holdout: str, target: str, metric: str, with_metrics: bool, signature_file: str
) -> dict[str, Any]:
    """Load a model, predict hold-out rows, and write the signature. Return the metrics of all rows if asked to.

    Raises ModelError if the model needs a class of the script itself, predicts a value that is not finite, or has no
    signature.
    """
    owner, (rows, truth, names) = Owner(str(Path(root) / "model")), holdouts.read(holdout, target)
    loaded = _load(owner, model)
    tried = range(0, len(rows), math.ceil(len(rows) / TRIED_ROWS))
    predictions = owner.predict(loaded, [rows[row] for row in tried], names)
    for row, value in zip(tried, predictions, strict=True):
        if not table.finite(value):
            raise ModelError(f"it predicts {value} for row {row} of the hold-out, which is not finite")
    try:
        derived = signature.derive(rows, names, predictions)
    except signature.SignatureError as error:
        raise ModelError(f"its signature cannot be derived: {error}") from None
    Path(signature_file).write_text(json.dumps(derived, indent=1) + "\n")
    return dict(owner.score(metric, truth, owner.answers(loaded, rows, names, metric))) if with_metrics else {}


def _load(owner: Owner, model: str) -> Any:
    try:
        return owner.load(model)
    except AttributeError as error:
        match = OF_SCRIPT.search(str(error))
        if match is None:
            raise
    name = match[1] or match[2]
    raise ModelError(
        f"its class {name} is defined in model/train.py, so only that script can load it\n"
        f"Move {name} into a module beside it, such as model/{name.lower()}.py, and import it from there"
    )
