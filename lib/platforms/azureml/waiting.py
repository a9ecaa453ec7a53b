"""Wait for the deployment of a service: to its end, or to the time limit."""

import contextlib
import io
import re
import time
from typing import Any

from lib.errors import ReleaseError
from lib.platforms.azureml.retry import SDK_ERRORS, explain, is_transient, mentions, pause_s, retrying

LOG_LINES = 6
POLL_S = 2.0


class StillDeployingError(ReleaseError):
    """The time limit has passed and the deployment goes on; the next release continues with it."""


def wait(webservice: Any, limit_s: float) -> None:
    """Wait for a deployment to its end or to the time limit, whatever goes wrong with single requests.

    Raises ReleaseError with the service's state and the end of its log, or StillDeployingError at the limit.
    """
    until = time.monotonic() + limit_s
    while (remaining_s := until - time.monotonic()) > 0:
        try:
            if _is_over(webservice, remaining_s):
                break
            time.sleep(min(POLL_S, remaining_s))
        except SDK_ERRORS as error:
            if mentions(error, "polling exceeded timeout"):
                continue
            if mentions(error, "non-successful terminal state") or not is_transient(error):
                raise ReleaseError(_failure(webservice, error)) from None
            time.sleep(min(pause_s(error, POLL_S), remaining_s))
    else:
        raise StillDeployingError(
            f"{webservice.name} is still being deployed after azureml.deploy_timeout_s = {limit_s:g} s; "
            "nothing was rolled back\nThe next `invoke release` continues with this deployment"
        )
    if webservice.state != "Healthy":
        raise ReleaseError(_failure(webservice, None))


def _is_over(webservice: Any, limit_s: float) -> bool:
    """Return whether a deployment has ended. If Azure's operation is known, wait for it up to a limit."""
    if webservice._operation_endpoint:
        with contextlib.redirect_stdout(io.StringIO()):  # show_output=False does not keep the SDK from printing
            webservice.wait_for_deployment(show_output=False, timeout_sec=limit_s)
        return True
    webservice.update_deployment_state()
    return bool(webservice.state != "Transitioning")


def _failure(webservice: Any, error: BaseException | None) -> str:
    """Describe why a deployment failed, with the end of the service's log."""
    try:
        retrying(f"service {webservice.name}", webservice.update_deployment_state)
    except ReleaseError as unreadable:
        return str(unreadable)
    problem = webservice.error or {}
    messages = [problem.get("message"), *(detail.get("message") for detail in problem.get("details") or [])]
    text = "\n".join(dict.fromkeys(filter(None, messages))) or (explain("the deployment", error) if error else "")
    reason, *rest = text.splitlines() or [""]
    # A failed build says more in its own words than the log of a container that was started before it.
    end = "".join(f"\n  {line}" for line in rest[-LOG_LINES:]) or _log_end(webservice)
    return f"{webservice.name} is {webservice.state}" + (f": {reason}" if reason else "") + end


def _log_end(webservice: Any) -> str:
    """Return the exceptions in a service's log, or its last lines."""
    try:
        log = retrying("the service's log", webservice.get_logs) or ""
    except ReleaseError:
        return ""
    lines = [line for line in log.splitlines() if line.strip()]
    exceptions = list(dict.fromkeys(line for line in lines if re.match(r"\s*[\w.]*(Error|Exception)\b", line)))
    return "".join(f"\n  {line}" for line in (exceptions or lines)[-LOG_LINES:])
