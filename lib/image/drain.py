"""Wait until no client is connected, so that a container can be stopped without losing a request.

This file goes into every image. It runs inside a container that gets no new requests: `python3 drain.py [QUIET_S]`.
"""

import sys
import time
from pathlib import Path

PORT = 5001
ESTABLISHED = "01"  # the kernel's code for this state in /proc/net/tcp
QUIET_S = 0.5
LIMIT_S = 30.0


def connections(port: int) -> int:
    """Count the connections to a port, including those that the server has not accepted yet."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in _sockets(name)]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == ESTABLISHED for line in lines)


def _sockets(name: str) -> list[str]:
    """Return the kernel's lines about sockets; none if the kernel has no such protocol."""
    path = Path("/proc/net") / name
    return path.read_text().splitlines()[1:] if path.exists() else []


def drain(port: int, quiet_s: float = QUIET_S, limit_s: float = LIMIT_S) -> bool:
    """Wait until a port had no connection for `quiet_s` seconds. Returns False if the limit is exceeded."""
    end = time.monotonic() + limit_s
    quiet_since = time.monotonic()
    while (now := time.monotonic()) < end:
        if connections(port):
            quiet_since = now
        elif now - quiet_since >= quiet_s:
            return True
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    sys.exit(not drain(PORT, float(sys.argv[1]) if len(sys.argv) > 1 else QUIET_S))
