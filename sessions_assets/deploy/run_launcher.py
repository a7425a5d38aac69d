"""The run launcher of a deployment whose code server is a process of its own: Dagster's, and its runs are monitored.

Named by the instance's dagster.yaml. Must not know what a run does.
"""

import dagster as dg

from sessions_assets.dagster.internals import CheckRunHealthResult, WorkerStatus, code_server_has_run


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Start runs as processes of the code server, and ask it whether it still has them.

    Dagster's own launcher cannot ask, so a run whose code server was killed would stay started for ever. With this
    one the daemon's run monitoring marks it as failed, and starts it again if run retries are on.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return that the daemon may ask for the health of a run."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the code server has the run. One that does not answer may be restarting: it is asked later."""
        try:
            has_run = code_server_has_run(self, run.run_id)
        except ConnectionError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code server does not answer now")
        if has_run is None:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "it is not known which code server has the run")
        if has_run:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the code server was restarted and has lost the run")
