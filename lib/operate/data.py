"""`invoke data`: propose the SCHEMA of model/data.py for a file of data."""

import json
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError
from lib.forks import proposal
from lib.forks.client import CallError
from lib.release.steps.step import Context

NUMBERS = ("low", "high", "mean", "std", "correlation")


def propose(context: Context, file: Path, target: str) -> str:
    """Return the lines of a SCHEMA for a .csv or .parquet file. Raises ReleaseError if the file is no table."""
    target = target or context.settings.release.gate.target
    try:
        if file.suffix == ".csv":
            columns = proposal.propose(str(file), target)
        else:  # the model's environment has what reads Parquet
            columns = context.forks.call(proposal.propose, path=str(file.absolute()), target=target)
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read: {error.strerror}") from None
    except (CallError, ValueError) as error:
        reason = str(error).partition(": ")[2] if isinstance(error, CallError) else str(error)
        raise ReleaseError(f"{file}: {reason}".splitlines()[0]) from None
    return "\n".join(["SCHEMA = [", f"    #       name, kind, {', '.join(NUMBERS)}", *map(_line, columns), "]"])


def _line(column: dict[str, Any]) -> str:
    """Return the line of a column in model/data.py."""
    arguments = [json.dumps(column["name"], ensure_ascii=False), column["kind"]]
    arguments += [repr(column[name]) for name in NUMBERS if name in column]
    if values := column.get("values"):
        texts = [json.dumps(value, ensure_ascii=False) for value in values]
        arguments.append(f"values=({', '.join(texts)},)")
    if "missing" in column:
        arguments.append(f"missing={column['missing']}")
    return f"    Column({', '.join(arguments)}),"
