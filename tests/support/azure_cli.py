"""The Azure CLI, as far as a release uses it."""

import os
import sys
from pathlib import Path

PATH = os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if not Path(one, "az").exists())
NO_PRINCIPAL = {"AZURE_CLIENT_ID": "", "AZURE_CLIENT_SECRET": "", "PATH": PATH}

# The Azure CLI as far as a release uses it: it gets tokens for the person who is logged in. It keeps a list of what it
# was asked, and gets the refresh token from its environment.
AZ = """#!{python}
import json, os, pathlib, sys, time, urllib.error, urllib.parse, urllib.request
folder = pathlib.Path(__file__).parent
with open(folder / "asked", "a") as asked:
    print(*sys.argv[1:], file=asked)
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
if sys.argv[1:3] == ["account", "get-access-token"] and not (folder / "logged-in").exists():
    sys.exit("ERROR: Please run 'az login' to setup account.")
form = {{"grant_type": "refresh_token", "refresh_token": os.environ["AZ_REFRESH_TOKEN"], "client_id": "az",
         "scope": options["--resource"] + "/.default"}}
login = "login.microsoftonline.us" if "usgov" in options["--resource"] else "login.microsoftonline.com"
address = "https://" + login + "/" + options.get("--tenant", "organizations") + "/oauth2/v2.0/token"
try:
    answer = json.load(urllib.request.urlopen(address, urllib.parse.urlencode(form).encode()))
except urllib.error.HTTPError as refused:
    said = json.load(refused)["error_description"]
    sys.exit("ERROR: " + said + "\\nInteractive authentication is needed. Please run:\\naz login")
print(json.dumps({{"accessToken": answer["access_token"], "expires_on": int(time.time()) + answer["expires_in"],
                   "tokenType": "Bearer"}}))
"""


class AzureCli:
    """A program named az on a PATH of its own."""

    def __init__(self, folder: Path, refresh_token: str) -> None:
        self.folder = folder
        (folder / "logged-in").touch()
        program = folder / "az"
        program.write_text(AZ.format(python=sys.executable))
        program.chmod(0o755)
        self.environment = NO_PRINCIPAL | {"PATH": f"{folder}{os.pathsep}{PATH}", "AZ_REFRESH_TOKEN": refresh_token}

    def asked(self) -> list[str]:
        note = self.folder / "asked"
        return note.read_text().splitlines() if note.exists() else []
