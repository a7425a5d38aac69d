"""The names of Dagster that its API does not document: each of them, with its reason. Read in Dagster 1.13.27.

Any release may move them without notice, so the minor version of Dagster is pinned in pyproject.toml, and tests run
through each of them. No other module of the project imports from `dagster._...`: a test asserts it.
"""

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

__all__ = [
    # The tags that name the days of a run: a sensor requests a range by them, a check has no other way to its days.
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "PARTITION_NAME_TAG",
    # The materialization that an evaluation is about. `dg.AssetCheckEvaluation`, which is documented, asks for it.
    "AssetCheckEvaluationTargetMaterializationData",
    # The answer of a run launcher to the daemon: Dagster documents launchers for use, not for writing one.
    "CheckRunHealthResult",
    # What `dg.define_asset_job`, which is documented, returns.
    "UnresolvedAssetJobDefinition",
    # Part of a `CheckRunHealthResult`.
    "WorkerStatus",
    # How the launcher reaches the code server of a run, and what it asks there.
    "code_server_has_run",
]


def code_server_has_run(launcher: dg.DefaultRunLauncher, run_id: str) -> bool | None:
    """Ask the code server of a run whether it still has its process. None: the server is not known.

    As the launcher's own `terminate` does, with the question that Dagster sends before it offers to cancel a run.

    Raises:
        ConnectionError: the server does not answer.
    """
    client = launcher._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]  # noqa: SLF001
    if client is None:
        return None
    try:
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=10)
    except DagsterUserCodeUnreachableError as error:
        raise ConnectionError(str(error)) from error
    return dg.deserialize_value(answer, CanCancelExecutionResult).can_cancel
