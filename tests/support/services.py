"""A service as its clients see it: its address, its keys, and many requests while it is updated."""

import functools
import json
import threading

import pytest
import requests

from lib.platforms.base import Deployment
from lib.settings import Service
from tests.support.ground import Ground
from tests.support.project import eventually


def url(service: Service, path: str = "/score") -> str:
    return f"http://127.0.0.1:{service.local.port}{path}"


def keys(ground: Ground, service: Service) -> list[str]:
    return [key.reveal() for key in ground.platform.services.keys(service)]


def rows(deployment: Deployment) -> bytes:
    return json.dumps({"data": deployment.rows}).encode()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def longer(answers: list[str], length: int) -> bool:
    return len(answers) >= length


class Load:
    """Clients that ask a service all the time, some over kept connections and some with a new one each time."""

    def __init__(self, address: str, key: str, deployments: list[Deployment]) -> None:
        self.address = address
        self.key = key
        self.body = rows(deployments[0])
        self.predictions = {str(one.model_version): one.predictions for one in deployments}
        self.ended = threading.Event()
        self.answers: list[list[str]] = [[] for _ in range(4)]
        self.threads = [
            threading.Thread(target=self.ask, args=[answers, place % 2 == 0])
            for place, answers in enumerate(self.answers)
        ]

    def ask(self, answers: list[str], keep: bool) -> None:
        with requests.Session() as session:
            while not self.ended.is_set():
                post = session.post if keep else requests.post
                try:
                    answers.append(self.version(post(self.address, self.body, headers=bearer(self.key), timeout=30)))
                except (requests.RequestException, ValueError) as error:
                    answers.append(f"{type(error).__name__}: {error}")

    def version(self, answer: requests.Response) -> str:
        """Return the version that answered, or what is wrong with its answer."""
        version = answer.headers.get("X-Model-Version", "none")
        right = answer.status_code == 200 and answer.json()["result"] == pytest.approx(self.predictions[version])
        return version if right else f"status {answer.status_code}: {answer.text[:100]}"

    def more(self, count: int = 40) -> set[str]:
        """Wait for more answers of every client, and return what was answered to requests sent from now on."""
        marks = [len(answers) + 1 for answers in self.answers]
        for answers, begin in zip(self.answers, marks, strict=True):
            eventually(functools.partial(longer, answers, begin + count))
        return {answer for answers, begin in zip(self.answers, marks, strict=True) for answer in answers[begin:]}

    def lost(self, *versions: str) -> list[str]:
        """Return all that was answered, or not answered, otherwise than by these versions."""
        return [answer for answers in self.answers for answer in answers if answer not in versions]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
