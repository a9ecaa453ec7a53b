"""Image: assemble the scoring image of the registered model, rehearse it, and let the platform build it."""

import json
import tempfile
from pathlib import Path
from typing import Any

from lib.environment import lock
from lib.errors import ReleaseError
from lib.forks import evaluation, rehearsal
from lib.forks.client import CallError
from lib.forks.evaluation import Expectation
from lib.forks.rehearsal import Rehearsed
from lib.forks.signature import brief
from lib.forms import Form
from lib.image.assemble import SCORE, assemble, has_score
from lib.platforms.base import Build
from lib.release.fingerprints import Fingerprint, of_files, of_settings
from lib.release.records import ImageRecord, ModelRecord
from lib.release.steps.step import Context, Step, holdout_of, signature_of, variables_of
from lib.settings import Settings, conda


class BuildImage(Step[ImageRecord]):
    """Build the scoring image."""

    name = "image"
    record = ImageRecord

    def inputs(self, context: Context) -> Fingerprint:
        """Return service/, the packages, the base image, and what only this platform uses; see Step."""
        settings = context.settings
        inputs = of_files(settings.root, "service", conda.PATH, lock.PATH)
        inputs |= of_settings("limits", test_rows=settings.release.limits.test_rows)
        inputs |= of_settings("image", base=_base(settings))
        form = settings.release.service
        if form.request or form.response:  # an image that was rehearsed before there was this setting stays fresh
            inputs |= of_settings("service", request=form.request, response=form.response)
        for section, of_platform in context.platform.images.settings().items():
            inputs |= of_settings(section, **of_platform)
        return inputs

    def missing(self, context: Context, record: ImageRecord) -> str:
        """Look for the image; see Step."""
        return "" if context.platform.images.find(record.digest) else f"image {record.digest[:12]} no longer exists"

    def run(self, context: Context, inputs: Fingerprint, previous: str, _forced: bool) -> ImageRecord:
        """Build the image, unless one with the same content exists; see Step."""
        model, platform, root = context.records.get(ModelRecord), context.platform, context.settings.root
        model_file, signature = platform.models.file(model.version), signature_of(context, model.run_id)
        expectation = context.forks.call(
            evaluation.expect,
            root=str(root),
            model=str(model_file),
            holdout=str(holdout_of(context, model.run_id)),
            target=context.settings.release.gate.target,
            count=context.settings.release.limits.test_rows,
        )
        columns = brief(json.loads(signature.read_bytes())["rows"])["columns"] if signature else None
        image = assemble(root, model_file, context.forks.environment.lock.text, _base(context.settings), signature)
        location, entry = platform.images.find(image.digest), context.records.read(ImageRecord)
        known = entry[0] if entry and entry[0].digest == image.digest and entry[0].refused is not None else None
        with tempfile.TemporaryDirectory() as folder:
            image.write(Path(folder))
            if not location or known is None or "service.request" in inputs:
                rehearsed = _rehearse(context, folder, expectation, columns)
            else:
                rehearsed = _of_record(known)
            for warning in rehearsed["warnings"]:
                context.tell(f"warning: {warning}")
            if not location:
                build = Build(
                    digest=image.digest,
                    folder=Path(folder),
                    model_name=model.name,
                    model_version=model.version,
                    commit=context.commit,
                )
                location = platform.images.build(build, context.tell)
        return ImageRecord(
            inputs=inputs,
            previous=previous,
            digest=image.digest,
            location=location,
            model_version=model.version,
            rows=rehearsed["rows"],
            predictions=rehearsed["predictions"],
            form=Form(rehearsed["request"], rehearsed["response"]),
            refused=rehearsed["refused"],
            warnings=rehearsed["warnings"],
            columns=columns,
        )


def _rehearse(
    context: Context, folder: str, expectation: Expectation, columns: list[dict[str, Any]] | None
) -> Rehearsed:
    """Try init() and requests: a broken score.py is found in a second, not after minutes of building.

    Raises ReleaseError; for the default scorer also if it differs from predict() or accepts a bad body.
    """
    form, own = context.settings.release.service, has_score(context.settings.root)
    try:
        return context.forks.call(
            rehearsal.rehearse,
            folder=folder,
            request=form.request if own else "",
            response=form.response if own else "",
            strict=not own,
            columns=columns,
            **variables_of(context, "aci"),
            **expectation,
        )
    except CallError as error:
        raise ReleaseError(f"{SCORE if own else 'the default scorer'} does not serve: {error}") from None


def _of_record(record: ImageRecord) -> Rehearsed:
    """Return what the rehearsal of the same image found."""
    return {
        "request": record.form.request,
        "response": record.form.response,
        "rows": record.rows,
        "predictions": record.predictions,
        "refused": record.refused or [],
        "warnings": record.warnings,
    }


def _base(settings: Settings) -> str:
    """Return the base of a container image, with the version of the model's Python."""
    return settings.release.image.base.replace("{python}", lock.python_minor(settings.root, lock.read(settings.root)))
