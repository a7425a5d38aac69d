"""The asset checks: what blocks and what warns, each day with its own state, in single and in range runs.

Must not know how a violation is computed, SQL, Spark settings or credentials.
Source of the rules: S8, S12, S13 (quarantine), S20 (empty is not missing).
"""

import warnings
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

from sessions_assets.assets import arrival_days
from sessions_assets.ledger import Entry
from sessions_assets.resources import LakeResource, Settings
from sessions_assets.tables import RAW_EVENTS, RAW_QUARANTINE

QUARANTINE_SHARE = 0.05
"""More refused rows than this share of a batch are worth a look."""

CONSERVATION, QUARANTINE_RATE, NOT_EMPTY = "conservation", "quarantine_rate", "batch_not_empty"


@dataclass(frozen=True)
class Finding:
    """What a check says of one day."""

    check: str
    day: date
    passed: bool
    metadata: dict[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def build_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Make the checks for the days from the first one of the settings to today."""
    return [_checks_of_raw_events(arrival_days(settings))]


def _checks_of_raw_events(days: dg.DailyPartitionsDefinition) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name="checks_of_raw_events",
        specs=[
            _spec(CONSERVATION, days, "Each row of the batch is in raw_events or in raw_quarantine.", blocking=True),
            _spec(QUARANTINE_RATE, days, f"At most {QUARANTINE_SHARE:.0%} of the batch was refused."),
            _spec(NOT_EMPTY, days, "The batch has at least one row."),
        ],
        can_subset=True,
    )
    def checks_of_raw_events(
        context: dg.AssetCheckExecutionContext, lake: LakeResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Compare the ledger with what the tables know of their files: no row is read."""
        asked = _days(context, days)
        entries = lake.ledger().entries(asked)
        kept = [day for day in asked if day not in entries or not entries[day].expired_at]
        findings = [finding for day in kept for finding in _of_a_batch(day, entries.get(day), lake)]
        yield from _report(context, RAW_EVENTS.name, findings)

    return checks_of_raw_events


def _spec(name: str, days: dg.DailyPartitionsDefinition, says: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        # Partitioned checks are a preview. The minor version of Dagster is pinned, and tests read the states back.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=RAW_EVENTS.name, description=says, blocking=blocking, partitions_def=days)


def _of_a_batch(day: date, entry: Entry | None, lake: LakeResource) -> Iterator[Finding]:
    kept = lake.count_rows(RAW_EVENTS, day), lake.count_rows(RAW_QUARANTINE, day)
    delivered, accepted, refused = (
        (entry.rows_delivered, entry.rows_accepted, entry.rows_quarantined) if entry else (0, 0, 0)
    )
    has_landed = entry is None or entry.landed_at is not None
    is_whole = has_landed and delivered == accepted + refused and kept == (accepted, refused)
    counts = {"delivered": entry is not None, "rows_delivered": delivered}
    tables = {RAW_EVENTS.name: kept[0], RAW_QUARANTINE.name: kept[1]}
    yield Finding(CONSERVATION, day, is_whole, {**counts, **tables})
    share, warn = refused / max(delivered, 1), dg.AssetCheckSeverity.WARN
    yield Finding(QUARANTINE_RATE, day, share <= QUARANTINE_SHARE, {"share": round(share, 4)}, warn)
    yield Finding(NOT_EMPTY, day, delivered > 0, counts, warn)


def _days(context: dg.AssetCheckExecutionContext, days: dg.DailyPartitionsDefinition) -> list[date]:
    """Read the days of the run from its tags: a check that runs beside its asset has no `partition_keys`."""
    tags = context.run.tags
    if PARTITION_NAME_TAG in tags:
        return [date.fromisoformat(tags[PARTITION_NAME_TAG])]
    first, last = tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]
    return [date.fromisoformat(key) for key in days.get_partition_keys() if first <= key <= last]


def _report(
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
