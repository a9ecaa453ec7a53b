"""Wait until no client is connected any more: what ends a container that others have stopped sending requests to.

It goes into every image, and is run inside its container before that is stopped: `python3 drain.py [QUIET_S]`.
"""

import sys
import time
from pathlib import Path

PORT = 5001
ESTABLISHED = "01"
QUIET_S = 0.5
LIMIT_S = 30.0


def connections(port: int) -> int:
    """Count the connections to a port, those included that wait to be accepted."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in table(name)]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == ESTABLISHED for line in lines)


def table(name: str) -> list[str]:
    """Return the kernel's lines about sockets; none where it has no such protocol."""
    path = Path("/proc/net") / name
    return path.read_text().splitlines()[1:] if path.exists() else []


def drain(port: int, quiet_s: float = QUIET_S, limit_s: float = LIMIT_S) -> bool:
    """Wait until a port was quiet for a while; False where it was not within the limit."""
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
