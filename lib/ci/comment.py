"""Tell a pull request the report, in one comment that the next push writes anew."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from lib.errors import ReleaseError, SettingsError

MARK = "<!-- invoke comment -->"
# What GitHub takes; Azure DevOps takes more.
MOST_CHARACTERS = 65_000
TIMEOUT_S = 30


class Service:
    """An HTTP interface that comments are kept behind."""

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **content: Any) -> requests.Response:
        """Send a request. Raises ReleaseError where it is not answered as it should be."""
        try:
            answer = self.session.request(
                method, path if "://" in path else self.base + path, json=content or None, timeout=TIMEOUT_S
            )
            answer.raise_for_status()
        except requests.HTTPError as error:
            raise ReleaseError(
                f"the comment was refused: {error.response.status_code} {error.response.text[:200]}\n"
                "The job's token must be allowed to write to pull requests: docs/ci.md"
            ) from None
        except requests.RequestException as error:
            raise ReleaseError(f"the comment could not be made: {error}\nRun the job again") from None
        return answer


class Github(Service):
    """GitHub: comments are those of an issue."""

    def __init__(self) -> None:
        repository = f"{given('GITHUB_API_URL')}/repos/{given('GITHUB_REPOSITORY')}/issues"
        super().__init__(repository, given("GITHUB_TOKEN"))
        _, kind, number = given("GITHUB_REF").split("/")[:3]
        if kind != "pull":
            raise no_pull_request()
        self.comments = f"/{number}/comments"

    def find(self) -> str:
        """Return the path of the comment made before, empty where there is none."""
        return next((f"/comments/{one['id']}" for one in self.all() if one["body"].startswith(MARK)), "")

    def all(self) -> Iterator[dict[str, Any]]:
        """Yield the comments, page after page."""
        page: str | None = f"{self.comments}?per_page=100"
        while page:
            answer = self.ask("GET", page)
            yield from answer.json()
            page = answer.links.get("next", {}).get("url")

    def write(self, body: str) -> None:
        """Write the comment."""
        found = self.find()
        self.ask("PATCH" if found else "POST", found or self.comments, body=body)


class AzureRepos(Service):
    """Azure Repos: comments are in threads."""

    VERSION = "?api-version=7.1"

    def __init__(self) -> None:
        number = os.environ.get("SYSTEM_PULLREQUEST_PULLREQUESTID")
        if not number:
            raise no_pull_request()
        place = f"{given('SYSTEM_COLLECTIONURI')}{given('SYSTEM_TEAMPROJECTID')}/_apis/git/repositories"
        super().__init__(
            f"{place}/{given('BUILD_REPOSITORY_ID')}/pullRequests/{number}/threads", given("SYSTEM_ACCESSTOKEN")
        )

    def find(self) -> str:
        """Return the path of the comment made before, empty where there is none."""
        for thread in self.ask("GET", self.VERSION).json()["value"]:
            for one in thread["comments"]:
                if (one.get("content") or "").startswith(MARK):
                    return f"/{thread['id']}/comments/{one['id']}"
        return ""

    def write(self, body: str) -> None:
        """Write the comment; in a thread that nobody has to resolve."""
        if found := self.find():
            self.ask("PATCH", found + self.VERSION, content=body)
        else:
            first = {"parentCommentId": 0, "content": body, "commentType": "text"}
            self.ask("POST", self.VERSION, comments=[first], status="closed")


def given(name: str) -> str:
    """Return what the CI system says in the environment. Raises SettingsError where it does not."""
    if value := os.environ.get(name):
        return value
    raise SettingsError(f"{name} is not set\n`invoke comment` is for a pull request in CI: docs/ci.md")


def no_pull_request() -> SettingsError:
    """Return what is said where there is nothing to comment on."""
    return SettingsError("this run is of no pull request, so there is nothing to comment on")


def comment(markdown: Path) -> None:
    """Write a file as the pull request's comment. Raises ReleaseError where that is not possible."""
    try:
        text = markdown.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReleaseError(f"{markdown} is not there\n`invoke report` writes the report that belongs there") from None
    body = f"{MARK}\n{text}"
    if len(body) > MOST_CHARACTERS:
        body = f"{body[:MOST_CHARACTERS]}\n\n(cut here: the whole report is with the run)"
    service = AzureRepos() if os.environ.get("TF_BUILD") else Github()
    service.write(body)
