"""What can go wrong in a release, and the exit code of each kind: the one place where they are written.

0 done, fresh, or held back by the gate; 130 interrupted.
"""

INTERRUPTED = 130


class ReleaseError(Exception):
    """A step failed for a reason that the user can act on: one to three lines, no traceback."""

    exit_code = 1


class SettingsError(ReleaseError):
    """The settings or the command line are wrong."""

    exit_code = 2


class NotFreshError(ReleaseError):
    """Under --only, a needed step is missing or stale."""

    exit_code = 3


class RefusedError(ReleaseError):
    """Refused for safety: someone else works here, or something would be lost."""

    exit_code = 4


class UnhealthyError(ReleaseError):
    """What was deployed is not healthy; the last good version serves again."""

    exit_code = 5
