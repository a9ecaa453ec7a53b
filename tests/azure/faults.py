"""Faults on demand: what goes wrong, with which requests or things, and how often."""

import json
import re
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

AAD = "login.microsoftonline.com/.*/token"

# The first group is met by requests; `match` is searched for in "METHOD host/path".
REQUESTS = {
    "throttle": "429 with Retry-After (retry_after_s)",
    "error": "an answer with an error (status, 500 if not given)",
    "reset": "the connection is reset; with after=true only after the request has been done",
    "slow": "the answer comes late (seconds)",
    "unauthorized": "401 as an expired or foreign token gives it",
    "forbidden": "403 as a missing role assignment gives it",
    "wrong-tenant": "AADSTS90002, by the token service",
    "wrong-client": "AADSTS700016, by the token service",
    "wrong-secret": "AADSTS7000215, by the token service",
    "expired-secret": "AADSTS7000222, by the token service",
    "expired-login": "AADSTS700082, by the token service, to a person's refresh token",
}
# The second is met by what the platform makes; `match` is searched for in "KIND NAME".
THINGS = {
    "never-ending": "the thing never reaches a final state: run, image, service, compute, deployment",
    "failed": "the thing fails, with `message`: run, image, service, compute, deployment",
    "crash": "init() of the service's score.py raises `message`",
    "unschedulable": "the cluster has no room for the service, as documented: not final, and what ran before goes on",
    "paused": "the deployment of the service goes on only when the fault is taken back",
    "new-keys": "the update of the service replaces both of its keys",
    "quota": "there is no quota for it: compute, service, run",
}


@dataclass
class Fault:
    """A fault that waits for its occasion: `times` occasions, or all of them if that is 0, after `skip` others.

    With `each`, every subject meets it once; subjects that differ in an id only are the same.
    """

    kind: str
    match: str = ""
    times: int = 1
    skip: int = 0
    status: int = 500
    retry_after_s: int = 1
    seconds: float = 2
    message: str = ""
    code: str = ""
    after: bool = False
    each: bool = False
    met: int = field(default=0)
    subjects: list[str] = field(default_factory=list)


class Faults:
    """The faults that are waiting."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self.lock = threading.Lock()

    def add(self, options: dict[str, Any]) -> Fault:
        """Add a fault. Raises ValueError where there is no such kind or option."""
        if options.get("kind") not in REQUESTS | THINGS:
            raise ValueError(f"no such fault; there are {', '.join(REQUESTS | THINGS)}")
        try:
            fault = Fault(**options)
            re.compile(fault.match)
        except (TypeError, re.error) as error:
            raise ValueError(str(error)) from None
        with self.lock:
            self.waiting.append(fault)
        return fault

    def take(self, subject: str, *kinds: str) -> Fault | None:
        """Return the first fault of these kinds that is meant for this subject, and count it."""
        with self.lock:
            for fault in self.waiting:
                if fault.kind in kinds and re.search(fault.match, subject):
                    kind = re.sub(r"[0-9a-f]{8,}(-[0-9a-f]{4,})*", "*", subject)
                    if fault.each and kind in fault.subjects:
                        continue
                    fault.subjects.append(kind)
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.met += 1
                    if fault.times and fault.met >= fault.times:
                        self.waiting.remove(fault)
                    return fault
        return None

    def holds(self, subject: str, kind: str) -> bool:
        """Say whether a fault for this subject is waiting, without counting it."""
        with self.lock:
            return any(fault.kind == kind and re.search(fault.match, subject) for fault in self.waiting)

    def clear(self) -> None:
        """Forget all of them."""
        with self.lock:
            self.waiting.clear()

    def list(self) -> list[dict[str, Any]]:
        """Return what is waiting."""
        with self.lock:
            return [asdict(fault) for fault in self.waiting]


def answer(fault: Fault) -> tuple[int, dict[str, str], bytes] | None:
    """Return status, headers and body of a faulty answer, or None where the request is answered all the same."""
    if fault.kind == "slow":
        time.sleep(fault.seconds)
        return None
    status, code, message, headers = {
        "throttle": (
            429,
            "TooManyRequests",
            "The request is being throttled.",
            {"Retry-After": str(fault.retry_after_s)},
        ),
        "error": (fault.status, fault.code or "InternalServerError", "An internal server error occurred.", {}),
        "unauthorized": (
            401,
            "InvalidAuthenticationToken",
            "The access token is invalid.",
            {"WWW-Authenticate": 'Bearer authorization_uri="https://login.microsoftonline.com/"'},
        ),
        "forbidden": (
            403,
            "AuthorizationFailed",
            "The client does not have authorization to perform action over scope, or the scope is invalid. "
            "If access was recently granted, please refresh your credentials.",
            {},
        ),
    }[fault.kind]
    body = {"error": {"code": code, "message": fault.message or message}}
    return status, headers, json.dumps(body).encode()
