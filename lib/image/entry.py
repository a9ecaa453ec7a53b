"""The entry script of every image: the owner's score.py, with the identity of the answering model in every answer.

This file goes into every image. Azure's own server runs it on this machine, in containers and on Azure.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from azureml_inference_server_http.server import routes

SERVICE = Path(__file__).resolve().parent / "service"
# Read before score.py runs, which may change the environment.
IDENTITY = {
    "X-Model": os.environ.get("MODEL_NAME", "unknown"),
    "X-Model-Version": os.environ.get("MODEL_VERSION", "unknown"),
    "X-Image": os.environ.get("IMAGE_DIGEST", "unknown"),
}


def _identify(response: Any) -> Any:
    """Replace the identity in an answer, so that score.py cannot name another model."""
    for name, value in IDENTITY.items():
        response.headers[name] = value
    return response


def _load() -> ModuleType:
    """Import score.py from service/, with the modules beside it, and those of model/ that the model may need."""
    sys.path[:0] = [str(SERVICE), str(SERVICE / "_model")]
    specification = importlib.util.spec_from_file_location("score", SERVICE / "score.py")
    if specification is None or specification.loader is None:
        raise ImportError(f"{SERVICE / 'score.py'} cannot be imported")
    module = sys.modules["score"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


# The server reads the entry script while it registers its own routes: the only moment when this is possible.
routes.main_blueprint.after_app_request(_identify)
_score = _load()
for _name in ("init", "run"):  # if score.py lacks one of them, the server says so
    if hasattr(_score, _name):
        globals()[_name] = getattr(_score, _name)
