"""`make env`: create .venv, and find out whether an existing one still works. Imports the standard library only.

python .ci/venv.py check [PYTHON]    exit 1 if .venv was moved with its folder, or is another Python's
python .ci/venv.py create            create it anew, without what was in it
"""

import os
import re
import subprocess
import sys
from pathlib import Path

# A link to a folder on another disk is fine, but the module venv refuses it.
FOLDER = Path(os.path.realpath(".venv"))
VERSION = "import sys; print('{}.{}'.format(*sys.version_info))"
LONGEST = 127  # of a script's first line; longer ones start with sh


def works(python: str) -> bool:
    """Return whether this interpreter is that of .venv, and .venv was made here with it, and with `python` if given."""
    scripts = [path for path in (FOLDER / "bin/invoke", FOLDER / "bin/pip") if path.exists()]
    lines = [path.read_bytes().split(b"\n", 1)[0].decode(errors="replace") for path in scripts]
    here = all(str(FOLDER) in line or len(line) > LONGEST for line in lines)
    made_with = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", (FOLDER / "pyvenv.cfg").read_text(), re.MULTILINE)
    version, wanted = "{}.{}".format(*sys.version_info), ""
    if python:
        wanted = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=False).stdout.strip()
    return here and bool(made_with) and made_with[1] == version and wanted in ("", version)


if __name__ == "__main__":
    if sys.argv[1] == "create":
        sys.exit(subprocess.call([sys.executable, "-m", "venv", "--clear", str(FOLDER)]))
    elif not works("".join(sys.argv[2:])):
        sys.exit(1)
