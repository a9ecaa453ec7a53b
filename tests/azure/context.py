"""Runs a script in the context of its run, as Azure's own wrapper does: what it logged is sent before its process ends.

`python context.py SCRIPT ARGUMENTS`. Sent to where the run is; standard library only, unless the script uses the SDK.
"""

import os
import runpy
import sys
from pathlib import Path


class Absent:
    """Makes the SDK as absent as it is in an environment that does not name it, whatever this machine has."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse to import the SDK."""
        if name in ("azureml", "azureml.core"):
            raise ModuleNotFoundError(
                f"No module named {name!r}: the environment does not name azureml-defaults", name=name
            )


def main() -> None:
    """Run the script, then send what the SDK still holds back."""
    del sys.argv[0]
    if os.environ.get("LOOPBACK_WITHOUT_SDK"):
        sys.meta_path.insert(0, Absent())
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        if "azureml.core.run" in sys.modules:
            sys.modules["azureml.core.run"].Run.get_context().flush()


if __name__ == "__main__":
    main()
