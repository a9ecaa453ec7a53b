"""Operations of the model management service: what takes its time, and can be asked how far it is."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint

from tests.azure.models import MANAGEMENT
from tests.azure.state import Record, State, Workspace, new_id, now
from tests.azure.web import Problem, here, workspace

web = here(Blueprint("operations", __name__, url_prefix=MANAGEMENT))
# The SDK waits five seconds from one poll to the next, so an answer is held back until there is news.
PATIENCE_S = 20
PERIOD_S = 0.1


@dataclass
class Operation:
    """An operation; `hangs` is one that never ends."""

    kind: str
    id: str = field(default_factory=new_id)
    state: str = "Running"
    hangs: bool = False
    stage: str | None = None
    error: Record | None = None
    location: str | None = None
    log: str = ""
    created: str = field(default_factory=now)
    ended: str | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def end(self, state: str = "Succeeded", error: Record | None = None) -> None:
        """Reach a final state, unless there is one already."""
        if not self.over.is_set():
            self.state, self.error, self.ended = state, error, now()
            self.over.set()

    def show(self) -> Record:
        """Return the operation as Azure shows it."""
        shown = {
            "id": self.id,
            "operationType": self.kind,
            "state": self.state,
            "createdTime": self.created,
            "endTime": self.ended,
            "operationLog": self.log,
            "operationDetails": {"subOperationType": self.stage},
        }
        return shown | ({"error": self.error} if self.error else {}) | self.result()

    def result(self) -> Record:
        """Return where the result is, which is known as soon as it has a name."""
        return {"resourceLocation": self.location} if self.location else {}

    def header(self, where: Workspace) -> dict[str, str]:
        """Return the header that tells a client where to ask."""
        return {"Operation-Location": f"/modelmanagement/v1.0{where.scope}/operations/{self.id}"}


def begin(where: Workspace, kind: str, location: str | None = None) -> Operation:
    """Begin an operation."""
    made = Operation(kind, location=location)
    where.operations[made.id] = made
    return made


def write_log(state: State, where: Workspace, operation: Operation, lines: list[str]) -> str:
    """Store the log of an operation, and return its signed address."""
    blob = f"operations/{operation.id}/build.log"
    state.storage.write(where.container, blob, ("\n".join(lines) + "\n").encode())
    operation.log = state.storage.address(where.container, blob, "r")
    return operation.log


def problem(code: str, message: str, status: int = 400) -> Record:
    """Return an error as operations and services show it."""
    return {"code": code, "statusCode": status, "message": message, "details": [{"code": code, "message": message}]}


@web.get("/operations/<operation>")
def get_operation(operation: str) -> Any:
    """Return an operation, as soon as it has ended."""
    if operation not in workspace.operations:
        raise Problem(404, "OperationNotFound", f"Operation {operation} not found")
    found: Operation = workspace.operations[operation]
    limit = time.monotonic() + PATIENCE_S
    while not found.hangs and time.monotonic() < limit and not found.over.wait(PERIOD_S):
        pass
    return found.show()
