"""The steps of a release, in order. Each hands its record to the next, and nothing else."""

from lib.release.records import (
    AciRecord,
    AciTestRecord,
    AksRecord,
    AksTestRecord,
    EvaluationRecord,
    ImageRecord,
    ModelRecord,
    RunRecord,
)
from lib.release.steps.deploy import deploy, service_absent, service_inputs
from lib.release.steps.evaluate import evaluate, evaluate_absent, evaluate_inputs
from lib.release.steps.image import image, image_absent, image_inputs
from lib.release.steps.register import register, register_absent, register_inputs
from lib.release.steps.step import Step
from lib.release.steps.test import no_inputs, nothing_absent, pointer_absent, test_aci, test_aks
from lib.release.steps.train import train, train_absent, train_inputs

STEPS = [
    Step("train", RunRecord, train_inputs, train_absent, train),
    Step("evaluate", EvaluationRecord, evaluate_inputs, evaluate_absent, evaluate),
    Step("register", ModelRecord, register_inputs, register_absent, register),
    Step("image", ImageRecord, image_inputs, image_absent, image),
    Step("aci", AciRecord, service_inputs("aci"), service_absent("aci"), deploy("aci", AciRecord)),
    Step("aci_test", AciTestRecord, no_inputs, nothing_absent, test_aci),
    Step("aks", AksRecord, service_inputs("aks"), service_absent("aks"), deploy("aks", AksRecord)),
    Step("test", AksTestRecord, no_inputs, pointer_absent, test_aks),
]
