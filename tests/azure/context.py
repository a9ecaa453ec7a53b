"""Runs a script in the context of its run, as Azure's own wrapper does: what it logged is sent before its process ends.

`python context.py SCRIPT ARGUMENTS`. Sent to where the run is; standard library only, unless the script uses the SDK.
"""

import runpy
import sys
from pathlib import Path


def main():
    """Run the script, then send what the SDK still holds back."""
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        if "azureml.core.run" in sys.modules:
            sys.modules["azureml.core.run"].Run.get_context().flush()


if __name__ == "__main__":
    main()
