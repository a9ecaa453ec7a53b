"""Image: assemble it from the registered model, and try it before it is called built."""

import tempfile
from pathlib import Path

from lib.errors import ReleaseError
from lib.forks import evaluation, rehearsal
from lib.forks.client import CallError
from lib.forks.evaluation import Expectation
from lib.image.assemble import assemble
from lib.platforms.base import Build
from lib.release.fingerprints import Fingerprint, of_files, of_settings
from lib.release.records import ImageRecord, ModelRecord
from lib.release.steps.step import Context
from lib.settings import conda
from lib.webservice import same


def image_inputs(context: Context) -> Fingerprint:
    settings = context.settings
    chosen = of_settings("limits", test_rows=settings.release.limits.test_rows)
    chosen |= of_settings("image", base=settings.release.image.base)
    for section, of_platform in context.platform.images.settings().items():
        chosen |= of_settings(section, **of_platform)
    return of_files(settings.root, "service", conda.PATH) | chosen


def image_absent(context: Context, record: ImageRecord) -> str:
    return "" if context.platform.images.find(record.digest) else f"image {record.digest[:12]} is not there any more"


def image(context: Context, inputs: Fingerprint, previous: str) -> ImageRecord:
    """Assemble the image, try it, and build it unless the same content was built before."""
    model, platform, root = context.get(ModelRecord), context.platform, context.settings.root
    file = platform.models.file(model.version)
    expected = context.forks.call(
        evaluation.expect,
        root=str(root),
        model=str(file),
        holdout=str(platform.runs.output(model.run_id, "holdout.json")),
        count=context.settings.release.limits.test_rows,
    )
    assembled = assemble(root, file, context.settings.release.image.base)
    location = platform.images.find(assembled.digest)
    if not location:
        with tempfile.TemporaryDirectory() as folder:
            assembled.write(Path(folder))
            rehearse(context, folder, expected)
            build = Build(
                digest=assembled.digest,
                folder=Path(folder),
                model_name=model.name,
                model_version=model.version,
                commit=context.commit,
            )
            location = platform.images.build(build, context.tell)
    return ImageRecord(
        inputs=inputs,
        previous=previous,
        digest=assembled.digest,
        location=location,
        model_version=model.version,
        rows=expected["rows"],
        predictions=expected["predictions"],
    )


def rehearse(context: Context, folder: str, expected: Expectation) -> None:
    """Try init() and one prediction. Raises ReleaseError where score.py does not predict as the model does."""
    try:
        given = context.forks.call(rehearsal.rehearse, folder=folder, row=expected["rows"][0])
    except CallError as error:
        raise ReleaseError(f"service/score.py does not serve: {error}") from None
    if not same(given, expected["predictions"][0]):
        raise ReleaseError(
            f"service/score.py predicts {given} where the model predicts {expected['predictions'][0]}\n"
            "Does it change the rows before it hands them to the model?"
        )
