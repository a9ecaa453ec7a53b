"""`invoke score`: score a file of rows by a service, or by a model version without a service."""

import contextlib
import http
import json
import tempfile
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError
from lib.forks import holdout, rehearsal, table
from lib.forms import Form, in_kind_of
from lib.image.assemble import SCORE, assemble, has_score
from lib.platforms.outputs import SOURCE
from lib.release import source
from lib.release.records import ImageRecord
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context, signature_of, variables_of
from lib.webservice import Client


def by_service(context: Context, target: str, file: Path) -> str:
    """Post a file to a service and return its answer. Raises ReleaseError with the service's own error message."""
    service = service_of(context, target)
    state = context.platform.services.find(service)
    if state is None or state.trouble:
        reason = state.trouble if state else "it was never deployed"
        raise ReleaseError(f"service {service.name} does not serve: {reason}\n`invoke release` starts it")
    image = _image(context)
    if image and image.digest != state.image:
        image = None  # the service takes requests in a form that only its own release knows
    client = Client(state.scoring_uri, context.platform.services.keys(service)[0].reveal())
    answer = client.ask(_body(file, image))
    return _checked(service.name, answer.status, answer.content.decode(errors="replace"), image)


def by_model(context: Context, version: int, file: Path) -> str:
    """Score a file by a model version, with today's service/ but without a service."""
    root, image = context.settings.root, _image(context)
    body = _body(file, image).decode()  # a missing file is reported before the model is downloaded
    platform = context.platform
    path, model = platform.models.file(version), platform.models.find(version)
    signature = signature_of(context, model.run_id) if model else None
    with tempfile.TemporaryDirectory() as folder:
        code, place = Path(folder) / "code", Path(folder) / "image"
        if model and SOURCE in platform.runs.outputs(model.run_id):
            source.unpack(platform.runs.output(model.run_id, SOURCE), code)
        own_code = code / "model" if code.is_dir() else None
        # Neither packages nor a base: the image is not built, it only runs here.
        assemble(root, path, requirements="", base="", signature=signature, code=own_code).write(place)
        variables = variables_of(context, "aks")
        status, text = context.forks.call(rehearsal.score, folder=str(place), body=body, **variables)
    return _checked(SCORE if has_score(root) else "the default scorer", status, text, image)


def _image(context: Context) -> ImageRecord | None:
    entry = context.records.read(ImageRecord)
    return entry[0] if entry else None


def _body(file: Path, image: ImageRecord | None) -> bytes:
    """Return the body of a request: rows (a JSON list, {"data": rows} or CSV) in the form that the rehearsal found.

    Any other JSON is sent as it is.
    """
    try:
        content = file.read_bytes()
        rows = _rows(content, file)
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ReleaseError(f"{file} is neither JSON nor CSV: {error}") from None
    if rows is None:
        return content
    form, names = image.form if image else Form(), [column["name"] for column in (image and image.columns) or []]
    return form.body(in_kind_of(image.rows, rows, names) if image else rows)


def _rows(content: bytes, file: Path) -> list[Any] | None:
    """Return the rows in a file; None if it is the body of a request. Raises ValueError if it is neither."""
    if file.suffix == ".csv":
        return holdout.records(str(file))
    with contextlib.suppress(ValueError):  # the service says what is wrong with a body that is not JSON
        body = json.loads(content)
        if isinstance(body, dict) and list(body) == ["data"]:
            body = body["data"]
        return body if isinstance(body, list) else None
    return None


def _checked(who: str, status: int, text: str, image: ImageRecord | None) -> str:
    """Return an answer. Raises ReleaseError if it is an error, or if a prediction is not a finite number."""
    if status != http.HTTPStatus.OK:
        raise ReleaseError(f"{who} answers {status}: {text}")
    with contextlib.suppress(ValueError):
        predictions = (image.form if image else Form()).predictions(json.loads(text))
        for number, prediction in enumerate(predictions or []):
            if prediction is None or not table.finite(prediction):
                raise ReleaseError(
                    f"{who} predicts {json.dumps(prediction)} for row {number}, which is not a finite number\n"
                    "Its values are probably far from those that the model was trained on"
                )
    return text
