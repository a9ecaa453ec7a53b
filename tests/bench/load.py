"""A client that asks a service over eight connections, one request each: `load.py PORT KEY SECONDS`, body on stdin.

One selector loop in one process, a fraction of what the servers need for a request.
"""

import json
import selectors
import socket
import statistics
import sys
import time
from dataclasses import asdict, dataclass

CONNECTIONS = 8
HEAD = "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n"
TYPE = "Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What a service did under load; `busy` is the share of a core that the client needed itself."""

    per_second: float
    p99_ms: float
    busy: float


class Request:
    """One request on a connection of its own."""

    def __init__(self, selector: selectors.BaseSelector, port: int, content: bytes) -> None:
        self.begin = time.perf_counter()
        self.selector = selector
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.left = memoryview(content)[self.socket.send(content) :]
        self.answer = b""
        selector.register(self.socket, selectors.EVENT_WRITE if self.left else selectors.EVENT_READ, self)

    def go_on(self) -> bool:
        """Send or receive what is possible; True when the server has closed the connection."""
        if self.left:
            self.left = self.left[self.socket.send(self.left) :]
            if not self.left:
                self.selector.modify(self.socket, selectors.EVENT_READ, self)
            return False
        part = self.socket.recv(1 << 18)
        self.answer += part
        return not part

    def close(self) -> None:
        """Close the connection. Raises RuntimeError where the answer was no prediction."""
        self.selector.unregister(self.socket)
        self.socket.close()
        if not self.answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(self.answer[:500].decode(errors="replace"))


def load(port: int, content: bytes, seconds: float) -> Load:
    """Keep all connections busy for some seconds."""
    selector = selectors.DefaultSelector()
    latencies = []
    begin, used = time.perf_counter(), time.process_time()
    for _ in range(CONNECTIONS):
        Request(selector, port, content)
    while (now := time.perf_counter()) < begin + seconds:
        for key, _ in selector.select(seconds):
            request: Request = key.data
            if request.go_on():
                latencies.append((time.perf_counter() - request.begin) * 1000)
                request.close()
                Request(selector, port, content)
    took = now - begin
    busy = (time.process_time() - used) / took
    return Load(len(latencies) / took, statistics.quantiles(latencies, n=100)[98], busy)


if __name__ == "__main__":
    body = sys.stdin.buffer.read()
    head = HEAD.format(sys.argv[2]) + TYPE.format(len(body))
    json.dump(asdict(load(int(sys.argv[1]), head.encode() + body, float(sys.argv[3]))), sys.stdout)
