"""`invoke comment`: post a Markdown file to the pull request, in one comment that later runs update."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from lib.errors import ReleaseError, SettingsError

MARK = "<!-- invoke comment -->"
# GitHub accepts 65,536 characters, Azure DevOps more.
MOST_CHARACTERS = 65_000
TIMEOUT_S = 30


class CommentApi:
    """The HTTP API of a system that keeps comments."""

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **content: Any) -> requests.Response:
        """Send a request. Raises ReleaseError if it fails; the token is not in the message."""
        try:
            answer = self.session.request(
                method, path if "://" in path else self.base + path, json=content or None, timeout=TIMEOUT_S
            )
            answer.raise_for_status()
        except requests.HTTPError as error:
            raise ReleaseError(
                f"the CI system refused the comment: {error.response.status_code} {error.response.text[:200]}\n"
                "The job's token must be allowed to write to pull requests: docs/ci.md"
            ) from None
        except requests.RequestException as error:
            raise ReleaseError(f"the CI system could not be reached: {error}\nRun the job again") from None
        return answer


class Github(CommentApi):
    """GitHub, where the comments of a pull request are those of an issue."""

    def __init__(self) -> None:
        repository = f"{_variable('GITHUB_API_URL')}/repos/{_variable('GITHUB_REPOSITORY')}/issues"
        super().__init__(repository, _variable("GITHUB_TOKEN"))
        _, kind, number = _variable("GITHUB_REF").split("/")[:3]
        if kind != "pull":
            raise _no_pull_request()
        self.comments = f"/{number}/comments"

    def find(self) -> str:
        """Return the path of the earlier comment, or an empty string."""
        paths = (f"/comments/{comment['id']}" for comment in self._all() if comment["body"].startswith(MARK))
        return next(paths, "")

    def _all(self) -> Iterator[dict[str, Any]]:
        page: str | None = f"{self.comments}?per_page=100"
        while page:
            answer = self.ask("GET", page)
            yield from answer.json()
            page = answer.links.get("next", {}).get("url")

    def write(self, body: str) -> None:
        """Create or update the comment."""
        path = self.find()
        self.ask("PATCH" if path else "POST", path or self.comments, body=body)


class AzureRepos(CommentApi):
    """Azure Repos, where comments are in threads."""

    VERSION = "?api-version=7.1"

    def __init__(self) -> None:
        number = os.environ.get("SYSTEM_PULLREQUEST_PULLREQUESTID")
        if not number:
            raise _no_pull_request()
        place = f"{_variable('SYSTEM_COLLECTIONURI')}{_variable('SYSTEM_TEAMPROJECTID')}/_apis/git/repositories"
        super().__init__(
            f"{place}/{_variable('BUILD_REPOSITORY_ID')}/pullRequests/{number}/threads", _variable("SYSTEM_ACCESSTOKEN")
        )

    def find(self) -> str:
        """Return the path of the earlier comment, or an empty string."""
        for thread in self.ask("GET", self.VERSION).json()["value"]:
            for comment in thread["comments"]:
                if (comment.get("content") or "").startswith(MARK):
                    return f"/{thread['id']}/comments/{comment['id']}"
        return ""

    def write(self, body: str) -> None:
        """Create or update the comment. Its thread is closed, since a branch policy may require resolved threads."""
        if path := self.find():
            self.ask("PATCH", path + self.VERSION, content=body)
        else:
            first = {"parentCommentId": 0, "content": body, "commentType": "text"}
            self.ask("POST", self.VERSION, comments=[first], status="closed")


def comment(markdown: Path) -> None:
    """Post a file as the pull request's comment. Raises SettingsError outside a pull request's run, ReleaseError."""
    try:
        text = markdown.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReleaseError(f"there is no file {markdown}\n`invoke report` writes report.md") from None
    body = f"{MARK}\n{text}"
    if len(body) > MOST_CHARACTERS:
        body = f"{body[:MOST_CHARACTERS]}\n\n(truncated: the artifacts of the run have the full report)"
    api = AzureRepos() if os.environ.get("TF_BUILD") else Github()
    api.write(body)


def _variable(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise SettingsError(f"{name} is not set\n`invoke comment` is for a pull request in CI: docs/ci.md")


def _no_pull_request() -> SettingsError:
    return SettingsError("this run belongs to no pull request, so there is nothing to comment on")
