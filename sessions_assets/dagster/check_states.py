"""How the outcomes of a check become the state that Dagster shows of each day, in single-day and in range runs.

Must not know what is checked.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import dagster as dg

from sessions_assets.dagster.internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    AssetCheckEvaluationTargetMaterializationData,
)
from sessions_assets.dagster.steps import no_day, refusal

_PAGE = 1000
"""So many materializations are fetched at once: the days of some years, or a month that was repeated often."""


@dataclass(frozen=True)
class Evaluation:
    """The outcome of a check for one day; None: for the whole table."""

    check: str
    day: date | None
    passed: bool
    metadata: dict[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


Targets = Mapping[date, AssetCheckEvaluationTargetMaterializationData]


def days_of_run(context: dg.AssetCheckExecutionContext, days: dg.DailyPartitionsDefinition) -> list[date] | None:
    """Return the days of the run, from its tags: a check that runs beside its asset has no `partition_keys`.

    None: the run names no day, as "Execute all" in the UI does.

    Raises:
        Failure: the run is of a range without a day.
    """
    tags = context.run.tags
    if PARTITION_NAME_TAG in tags:
        return [date.fromisoformat(tags[PARTITION_NAME_TAG])]
    if ASSET_PARTITION_RANGE_START_TAG not in tags:
        return None
    first, last = tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]
    found = [date.fromisoformat(key) for key in days.get_partition_keys() if first <= key <= last]
    if not found:
        raise no_day(tags)
    return found


def report(
    context: dg.AssetCheckExecutionContext, asset: str, evaluations: Sequence[Evaluation]
) -> Iterator[dg.AssetCheckResult]:
    """Yield one result per check and log one evaluation per partition.

    Dagster takes one result per check. In a single-day run it is the day's own; in a range run it belongs to no day,
    and each day would stay planned for ever. So each day is logged too, with the materialization that it is about:
    without that the UI does not show it. In a run that names no day Dagster cannot take a result of a partitioned
    check, so that is logged as well.

    Raises:
        Failure: a blocking check failed in a run that names no day; with a day Dagster itself fails the run.
    """
    names_a_day = {PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG} & context.run.tags.keys()
    logged = [] if PARTITION_NAME_TAG in context.run.tags else evaluations
    targets = _newest_materializations(context, asset, {evaluation.day for evaluation in logged if evaluation.day})
    blocked = []
    for key in context.selected_asset_check_keys:
        for evaluation in logged:
            if evaluation.check == key.name and evaluation.day:
                _log(context, key, evaluation, targets)
        whole = _summary([evaluation for evaluation in evaluations if evaluation.check == key.name])
        if names_a_day:
            yield _result(key, whole)
            continue
        _log(context, key, whole, targets)
        if _is_blocking(context, key) and not whole.passed:
            blocked.append(key.name)
    if blocked:
        raise refusal(f"{asset} fails {', '.join(sorted(blocked))}")


def _result(key: dg.AssetCheckKey, whole: Evaluation) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=whole.passed,
        severity=whole.severity,
        metadata=whole.metadata,
    )


def _summary(evaluations: Sequence[Evaluation]) -> Evaluation:
    if len(evaluations) == 1:
        return replace(evaluations[0], day=None)
    failed = [evaluation for evaluation in evaluations if not evaluation.passed]
    severity = failed[0].severity if failed else dg.AssetCheckSeverity.ERROR
    days = ", ".join(str(evaluation.day) for evaluation in failed) or "none"
    return Evaluation(evaluations[0].check, None, not failed, {"days": len(evaluations), "failed": days}, severity)


def _is_blocking(context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey) -> bool:
    return next(spec.blocking for spec in context.check_specs if spec.key == key)


def _log(
    context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey, evaluation: Evaluation, targets: Targets
) -> None:
    day = evaluation.day
    event = dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=evaluation.passed,
        metadata=evaluation.metadata,
        severity=evaluation.severity,
        blocking=_is_blocking(context, key),
        partition=day.isoformat() if day else None,
        target_materialization_data=targets.get(day) if day else None,
    )
    # One event at a time: Dagster stores materializations in batches, evaluations not (BATCH_WRITABLE_EVENTS).
    # The signature names fewer kinds of events than the method takes.
    context.op_execution_context.log_event(event)  # type: ignore[arg-type]


def _newest_materializations(
    context: dg.AssetCheckExecutionContext, asset: str, days: Collection[date]
) -> dict[date, AssetCheckEvaluationTargetMaterializationData]:
    """Return the newest materialization of each day that has one, in one query unless they fill more than a page."""
    newest: dict[date, AssetCheckEvaluationTargetMaterializationData] = {}
    of_days = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=sorted(map(str, days)))
    cursor, has_more = None, bool(days)
    while has_more and len(newest) < len(days):
        page = context.instance.fetch_materializations(of_days, limit=_PAGE, cursor=cursor)
        for record in page.records:
            target = AssetCheckEvaluationTargetMaterializationData(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
            newest.setdefault(date.fromisoformat(str(record.partition_key)), target)
        cursor, has_more = page.cursor, page.has_more
    return newest
