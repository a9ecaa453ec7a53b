"""Where pull requests keep their comments: GitHub's and Azure DevOps' HTTP interfaces for them, on this machine."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "token-of-the-job"
PAGE = 2  # comments on one page of GitHub's


class Comments:
    """The comments of pull request 7 by their ids, and what leads `invoke comment` to them."""

    def __init__(self, base: str) -> None:
        self.kept: dict[int, str] = {}
        self.github = {
            "GITHUB_API_URL": base,
            "GITHUB_REPOSITORY": "owner/project",
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_TOKEN": TOKEN,
        }
        self.azure = {
            "SYSTEM_COLLECTIONURI": f"{base}/",
            "SYSTEM_TEAMPROJECTID": "project",
            "BUILD_REPOSITORY_ID": "repository",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
            "SYSTEM_ACCESSTOKEN": TOKEN,
        }

    def add(self, text: str) -> int:
        """Keep a comment and return its id."""
        number = len(self.kept) + 1
        self.kept[number] = text
        return number


class Handler(BaseHTTPRequestHandler):
    """Answers as both services do; a thread of Azure's has one comment, of the thread's id."""

    comments: Comments

    def do_GET(self) -> None:
        if re.fullmatch(r"/repos/owner/project/issues/7/comments\?per_page=100(&page=\d+)?", self.path):
            page = int(self.path.partition("&page=")[2] or 1)
            found = [{"id": number, "body": text} for number, text in self.comments.kept.items()]
            more = len(found) > page * PAGE
            base = f"http://{self.headers['Host']}{self.path.partition('&')[0]}"
            link = {"Link": f'<{base}&page={page + 1}>; rel="next"'} if more else {}
            self.answer(200, found[(page - 1) * PAGE : page * PAGE], link)
        elif self.path == "/project/_apis/git/repositories/repository/pullRequests/7/threads?api-version=7.1":
            found = [
                {"id": number, "comments": [{"id": 1, "content": text}]} for number, text in self.comments.kept.items()
            ]
            self.answer(200, {"value": [{"id": 99, "comments": [{"id": 1}]}, *found]})
        else:
            self.answer(404, {})

    def do_POST(self) -> None:
        said = self.said()
        if self.path == "/repos/owner/project/issues/7/comments":
            self.answer(201, {"id": self.comments.add(said["body"])})
        elif self.path.endswith("/pullRequests/7/threads?api-version=7.1"):
            self.answer(200, {"id": self.comments.add(said["comments"][0]["content"])})
        else:
            self.answer(404, {})

    def do_PATCH(self) -> None:
        said = self.said()
        found = re.fullmatch(r"/repos/owner/project/issues/comments/(\d+)", self.path) or re.search(
            r"/pullRequests/7/threads/(\d+)/comments/1\?api-version=7.1$", self.path
        )
        if found:
            self.comments.kept[int(found[1])] = said.get("body") or said["content"]
        self.answer(200 if found else 404, {})

    def said(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, content = 403, {"message": "Resource not accessible by integration"}
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def comments() -> Iterator[Comments]:
    """Keep the comments of a pull request for a while."""

    class HandlerOfOne(Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), HandlerOfOne) as server:
        kept = HandlerOfOne.comments = Comments(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield kept
        server.shutdown()
        thread.join(60)
