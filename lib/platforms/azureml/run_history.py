"""The experiment of a release, and the runs in it."""

from azureml.core import Experiment
from azureml.core import Run as AzureRun

from lib.platforms.azureml.retry import SDK_ERRORS, mentions, retrying
from lib.platforms.azureml.workspace import Connection


class History:
    """The SDK's objects of the runs of one experiment. Reading creates no experiment."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._experiment: Experiment | None = None

    def query(self, fingerprint: str) -> list[AzureRun]:
        """Return the runs with a fingerprint, the newest first."""
        experiment = self._find()
        if experiment is None:
            return []
        return retrying("the run history", lambda: list(AzureRun.list(experiment, tags={"fingerprint": fingerprint})))

    def lookup(self, run_id: str) -> AzureRun | None:
        """Return a run; None if the run does not exist."""
        experiment = self._find() if run_id else None
        if experiment is None:
            return None
        try:
            return AzureRun(experiment, run_id)
        except SDK_ERRORS as error:
            if mentions(error, "not found"):
                return None
            raise

    def _find(self) -> Experiment | None:
        """Return the experiment; None if it does not exist. The SDK's constructor would create it."""
        workspace, name = self._connection.find(), self._name
        if self._experiment is None and workspace is not None:
            experiments = retrying(f"experiment {name}", lambda: list(Experiment.list(workspace, experiment_name=name)))
            self._experiment = next((experiment for experiment in experiments if experiment.name == name), None)
        return self._experiment
