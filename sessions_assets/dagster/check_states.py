"""How what a check finds of each day becomes the state that Dagster shows of the day, in single and in range runs.

Must not know what is checked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    """What a check says of one day; None: of the whole table."""

    check: str
    day: date | None
    passed: bool
    metadata: dict[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def days_of_run(context: dg.AssetCheckExecutionContext, days: dg.DailyPartitionsDefinition) -> list[date] | None:
    """Read the days of the run from its tags: a check that runs beside its asset has no `partition_keys`.

    None: the run names no day, as "Execute all" in the UI does.
    """
    tags = context.run.tags
    if PARTITION_NAME_TAG in tags:
        return [date.fromisoformat(tags[PARTITION_NAME_TAG])]
    if ASSET_PARTITION_RANGE_START_TAG not in tags:
        return None
    first, last = tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]
    return [date.fromisoformat(key) for key in days.get_partition_keys() if first <= key <= last]


def report(
    context: dg.AssetCheckExecutionContext, asset: str, findings: Sequence[Finding]
) -> Iterator[dg.AssetCheckResult]:
    """Say for each check how the run went, and for each day how the day is.

    Dagster takes one result a check. In a single-day run it is the day's; in a range run it belongs to no day, and each
    day would stay planned for ever. So each day is logged too, with the materialization that it is about: without that
    the UI does not show it. In a run that names no day Dagster cannot take a result of a partitioned check, so that is
    logged as well.

    Raises:
        Failure: a blocking check failed in a run that names no day; with a day Dagster itself fails the run.
    """
    names_a_day = {PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG} & context.run.tags.keys()
    blocked = []
    for key in context.selected_asset_check_keys:
        of_check = [finding for finding in findings if finding.check == key.name]
        whole = _summary(of_check)
        if PARTITION_NAME_TAG not in context.run.tags:
            for finding in of_check:
                if finding.day:
                    _log(context, key, finding)
        if names_a_day:
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=key.name,
                passed=whole.passed,
                severity=whole.severity,
                metadata=whole.metadata,
            )
            continue
        _log(context, key, whole)
        if _is_blocking(context, key) and not whole.passed:
            blocked.append(key.name)
    if blocked:
        raise dg.Failure(description=f"{asset} fails {', '.join(sorted(blocked))}", allow_retries=False)


def _summary(findings: Sequence[Finding]) -> Finding:
    if len(findings) == 1:
        return replace(findings[0], day=None)
    failed = [finding for finding in findings if not finding.passed]
    severity = failed[0].severity if failed else dg.AssetCheckSeverity.ERROR
    days = ", ".join(str(finding.day) for finding in failed) or "none"
    return Finding(findings[0].check, None, not failed, {"days": len(findings), "failed": days}, severity)


def _is_blocking(context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey) -> bool:
    return next(spec.blocking for spec in context.check_specs if spec.key == key)


def _log(context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey, finding: Finding) -> None:
    day = finding.day.isoformat() if finding.day else None
    evaluation = AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=finding.passed,
        metadata=normalize_metadata(finding.metadata),
        severity=finding.severity,
        blocking=_is_blocking(context, key),
        partition=day,
        target_materialization_data=_newest_materialization(context, key.asset_key, day) if day else None,
    )
    # Its signature names fewer kinds of events than it takes.
    context.op_execution_context.log_event(evaluation)  # type: ignore[arg-type]


def _newest_materialization(
    context: dg.AssetCheckExecutionContext, asset: dg.AssetKey, day: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    of_the_day = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[day])
    for found in context.instance.fetch_materializations(of_the_day, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=found.storage_id, run_id=found.run_id, timestamp=found.timestamp
        )
    return None
