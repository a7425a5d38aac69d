"""How runs are started where the code server is a process of its own: as Dagster does, and watched while they last.

Named by the instance's dagster.yaml. Must not know what a run does.
"""

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(DefaultRunLauncher):
    """Runs are processes of the code server; it is asked whether it still has them.

    Dagster's own launcher cannot tell, so that a run whose code server was killed would stay started for ever. With
    this one the daemon's run monitoring marks it as failed, and starts it again if run retries are on.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Tell the daemon to ask."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask the code server for the run; one that does not answer may be about to start again, and is asked later."""
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "it is not known which code server has the run")
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=10)
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code server does not answer now")
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the code server was started anew and has lost the run")
