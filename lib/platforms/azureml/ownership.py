"""Which resources of a workspace belong to this release. It changes and removes no others."""

import functools
from collections.abc import Iterable
from typing import Any

from lib.errors import RefusedError
from lib.platforms.azureml.retry import retrying_quietly
from lib.platforms.azureml.workspace import MADE_BY
from lib.settings import Settings

# Not "owner": companies tag resources with that, for other purposes.
MODEL, OWNER = "model_name", "release_owner"


class Ownership:
    """This release's name for itself: the tool, the model, and `azureml.owner` if it is set."""

    def __init__(self, settings: Settings) -> None:
        self._model = settings.release.model.name
        self._owner = settings.release.azureml.owner
        self.tags = MADE_BY | {MODEL: self._model} | ({OWNER: self._owner} if self._owner else {})

    def owns_service(self, webservice: Any) -> bool:
        """Return whether a service belongs to this release. Older releases did not tag it with the model's name."""
        tags = webservice.tags or {}
        names = [tags[MODEL]] if MODEL in tags else [model.name for model in webservice.models or []]
        return self._made_it(tags) and self._model in names

    def owns_model(self, model: Any) -> bool:
        """Return whether a registered version belongs to this release: its properties cannot be changed by others."""
        return self._made_it(model.properties or {})

    def adopt_models(self, models: Iterable[Any]) -> None:
        """Take over what this tool registered before `azureml.owner` was set."""
        for model in models:
            labels = model.properties or {}
            if self._owner and labels.items() >= MADE_BY.items() and OWNER not in labels:
                add = functools.partial(model.add_properties, {OWNER: self._owner})
                retrying_quietly(f"model {model.id}", add)

    def require_service(self, webservice: Any) -> None:
        """Raise RefusedError if a service is not this release's: with its apparent owner and three ways out."""
        if not self.owns_service(webservice):
            name = webservice.name
            raise RefusedError(
                f"service {name} does not belong to this release: {describe(webservice)}\n"
                f"Choose another name in config/release.toml, take the service over with `invoke adopt {name}`, "
                "or ask its owner"
            )

    def _made_it(self, labels: dict[str, str]) -> bool:
        return labels.items() >= MADE_BY.items() and labels.get(OWNER, "") == self._owner


def describe(webservice: Any) -> str:
    """Describe the apparent owner of a service by its tags and its creator."""
    tags = webservice.tags or {}
    labels = [f"{name} {tags[name]}" for name in ("owner", "team", "made_by", MODEL, OWNER) if tags.get(name)]
    creator = (webservice.created_by or {}).get("userName")
    return ", ".join([*labels, *([f"created by {creator}"] if creator else [])]) or "it has no tags"
