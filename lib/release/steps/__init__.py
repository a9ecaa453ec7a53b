"""The steps of a release, in order. A step hands its record to the steps after it, and nothing else."""

from lib.release.steps.deploy import Deploy
from lib.release.steps.evaluate import Evaluate
from lib.release.steps.image import BuildImage
from lib.release.steps.register import Register
from lib.release.steps.step import AnyStep
from lib.release.steps.test import Test
from lib.release.steps.train import Train

STEPS: list[AnyStep] = [
    Train(),
    Evaluate(),
    Register(),
    BuildImage(),
    Deploy("aci"),
    Test("aci"),
    Deploy("aks"),
    Test("aks"),
]
