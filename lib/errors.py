"""The expected errors of a release, and their exit codes.

Exit code 0 means done, fresh, or held by the gate; 130 means interrupted.
"""

INTERRUPTED = 130


class ReleaseError(Exception):
    """A failure that the user can act on. Its message has one to three lines and is printed without a traceback."""

    exit_code = 1


class SettingsError(ReleaseError):
    """The settings or the command line are wrong."""

    exit_code = 2


class NotFreshError(ReleaseError):
    """Under --only, a required step is missing or stale."""

    exit_code = 3


class RefusedError(ReleaseError):
    """Refused for safety: another task holds the lock, or something would be lost."""

    exit_code = 4


class UnhealthyError(ReleaseError):
    """The deployed version is unhealthy; the last good version serves again."""

    exit_code = 5
