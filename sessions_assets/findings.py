"""How what a check finds of each day becomes the state that Dagster shows of the day, in single and in range runs.

Must not know what is checked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.metadata import normalize_metadata
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)


@dataclass(frozen=True)
class Finding:
    """What a check says of one day."""

    check: str
    day: date
    passed: bool
    metadata: dict[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def days_of_run(context: dg.AssetCheckExecutionContext, days: dg.DailyPartitionsDefinition) -> list[date]:
    """Read the days of the run from its tags: a check that runs beside its asset has no `partition_keys`."""
    tags = context.run.tags
    if PARTITION_NAME_TAG in tags:
        return [date.fromisoformat(tags[PARTITION_NAME_TAG])]
    first, last = tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]
    return [date.fromisoformat(key) for key in days.get_partition_keys() if first <= key <= last]


def report(
    context: dg.AssetCheckExecutionContext, asset: str, findings: Sequence[Finding]
) -> Iterator[dg.AssetCheckResult]:
    """Say for each check how the run went, and for each day how the day is.

    Dagster takes one result a check. In a single-day run it is the day's; in a range run it belongs to no day, and each
    day would stay planned for ever. So each day is logged too, with the materialization that it is about: without that
    the UI does not show it.
    """
    for key in context.selected_asset_check_keys:
        of_check = [finding for finding in findings if finding.check == key.name]
        failed = [finding for finding in of_check if not finding.passed]
        if PARTITION_NAME_TAG not in context.run.tags:
            for finding in of_check:
                _log(context, key, finding)
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=key.name,
            passed=not failed,
            severity=failed[0].severity if failed else dg.AssetCheckSeverity.ERROR,
            metadata=of_check[0].metadata
            if len(of_check) == 1
            else {"days": len(of_check), "failed": ", ".join(str(finding.day) for finding in failed) or "none"},
        )


def _log(context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey, finding: Finding) -> None:
    day = finding.day.isoformat()
    of_the_day = dg.AssetRecordsFilter(asset_key=key.asset_key, asset_partitions=[day])
    records = context.instance.fetch_materializations(of_the_day, limit=1).records
    target = (
        AssetCheckEvaluationTargetMaterializationData(
            storage_id=records[0].storage_id, run_id=records[0].run_id, timestamp=records[0].timestamp
        )
        if records
        else None
    )
    evaluation = AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=finding.passed,
        metadata=normalize_metadata(finding.metadata),
        severity=finding.severity,
        blocking=next(spec.blocking for spec in context.check_specs if spec.key == key),
        partition=day,
        target_materialization_data=target,
    )
    # Its signature names fewer kinds of events than it takes.
    context.op_execution_context.log_event(evaluation)  # type: ignore[arg-type]
