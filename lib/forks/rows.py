"""Which rows a model was trained on: digests that do not depend on the names and the order of the columns.

It runs beside the owner's model and imports the standard library only.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from lib.forks import holdout as holdouts

BYTES = 8  # of a digest
MOSTLY = 0.9  # the share of hold-out rows that a training file must have, if the hold-out comes from it


def write_training_rows(data: str, holdout: str, target: str, output: str) -> bool:
    """Write the digests of a training file's rows that are not in the hold-out, and return whether they are known.

    They are unknown if the hold-out's rows are not rows of the file: the script has transformed them.
    """
    held_out = set(_of_holdout(holdout, target))
    rows = [_digest(row.values() if isinstance(row, dict) else row) for row in holdouts.records(data)]
    if len(held_out & set(rows)) < MOSTLY * len(held_out):
        return False
    Path(output).write_bytes(b"".join(sorted(set(rows) - held_out)))
    return True


def write_known_rows(rows: str, target: str, output: str) -> None:
    """Write the digests of the training rows that a script made known, in the form of a hold-out."""
    Path(output).write_bytes(b"".join(sorted(set(_of_holdout(rows, target)))))


def unseen(holdout: str, target: str, trained: list[str]) -> tuple[list[int], int]:
    """Return the indices of the hold-out rows that are in none of the files of training rows, and the number of all."""
    seen: set[bytes] = set()
    for path in trained:
        content = Path(path).read_bytes()
        seen |= {content[start : start + BYTES] for start in range(0, len(content), BYTES)}
    digests = _of_holdout(holdout, target)
    return [index for index, row in enumerate(digests) if row not in seen], len(digests)


def _of_holdout(path: str, target: str) -> list[bytes]:
    rows, truth, _ = holdouts.read(path, target)
    values = [list(row.values()) if isinstance(row, dict) else row if isinstance(row, list) else [row] for row in rows]
    return [_digest([*row, true]) for row, true in zip(values, truth, strict=True)]


def _digest(values: Any) -> bytes:
    plain = [float(value) if isinstance(value, bool | int | float) else value for value in values]
    return hashlib.sha256("\0".join(sorted(map(json.dumps, plain))).encode()).digest()[:BYTES]
