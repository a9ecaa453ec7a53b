"""The log of a training run, passed on line by line while it grows."""

import requests

from lib.platforms.base import Tell

LOGS = ("user_logs/std_log.txt", "azureml-logs/70_driver_log.txt")
LOG_LINES = 5
REQUEST_TIMEOUT_S = 30


class Log:
    """The log of one run."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._offset = 0
        self._partial_line = b""
        self._lines: list[str] = []

    def follow(self, files: dict[str, str]) -> None:
        """Pass on new lines. A log that cannot be read now is read at the next call."""
        address = next((files[name] for name in LOGS if name in files), None)
        if address is None:
            return
        try:
            answer = requests.get(address, headers={"Range": f"bytes={self._offset}-"}, timeout=REQUEST_TIMEOUT_S)
        except requests.RequestException:
            return
        if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
            return
        partial = answer.status_code == requests.codes.partial_content
        new = answer.content if partial else answer.content[self._offset :]
        self._offset += len(new)
        *lines, self._partial_line = (self._partial_line + new).split(b"\n")
        for line in lines:
            self._lines.append(line.decode(errors="replace").rstrip().rsplit("\r", 1)[-1])
            self._tell(self._lines[-1])

    def end(self) -> str:
        """Return the last lines, for an error message."""
        lines = [*self._lines, self._partial_line.decode(errors="replace")]
        return "".join(f"\n  {line}" for line in [line for line in lines if line.strip()][-LOG_LINES:])
