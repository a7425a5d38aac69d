"""The asset checks: what blocks and what warns, each day with its own state, in single and in range runs.

Must not know how a violation is computed, SQL, Spark settings or credentials.
Source of the rules: R8, R12, R13 (quarantine), R20 (empty is not missing), R11 (the window); the others are those of
`violations`.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg

from sessions_assets.dagster.assets import arrival_days
from sessions_assets.dagster.check_states import Finding, days_of_run, report
from sessions_assets.dagster.metadata import of_rows
from sessions_assets.dagster.resources import LakeResource, SessionRuleResource, SparkResource
from sessions_assets.dagster.steps import step
from sessions_assets.lake.lake import Lake
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE
from sessions_assets.pipeline.inspections import Inspection, inspect, inspect_all
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.violations import DUPLICATE, RECOMPUTED, ROW_COLUMNS, VIOLATIONS
from sessions_assets.settings import Settings

CONSERVATION, QUARANTINE_RATE, NOT_EMPTY = "conservation", "quarantine_rate", "batch_not_empty"
WINDOW, LATE_SHARE = "window_complete", "late_share"
BLOCKING = {CONSERVATION, DUPLICATE, RECOMPUTED}


def build_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Make the checks for the days, the lateness and the shares of the settings."""
    days = arrival_days(settings)
    return [_checks_of_raw_events(days, settings), _checks_of_ods_sessions(days, settings)]


def _checks_of_raw_events(days: dg.DailyPartitionsDefinition, settings: Settings) -> dg.AssetChecksDefinition:
    says = {
        CONSERVATION: "each row of the batch is in `raw_events` or in `raw_quarantine`",
        QUARANTINE_RATE: f"at most {settings.quarantine_warn_share:.0%} of the batch was refused",
        NOT_EMPTY: "there is a batch, and it has at least one row",
    }

    @dg.multi_asset_check(name="checks_of_raw_events", specs=_specs(RAW_EVENTS.name, says, days), can_subset=True)
    def checks_of_raw_events(
        context: dg.AssetCheckExecutionContext, lake: LakeResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Compare the ledger with what the tables know of their files: no row is read."""
        asked = days_of_run(context, days)
        entries = lake.ledger().entries(asked)
        kept = [day for day in asked or entries if day not in entries or not entries[day].expired_at]
        findings = [
            finding
            for day in kept
            for finding in _of_a_batch(day, entries.get(day), lake, settings.quarantine_warn_share)
        ]
        yield from report(context, RAW_EVENTS.name, findings)

    return checks_of_raw_events


def _checks_of_ods_sessions(days: dg.DailyPartitionsDefinition, settings: Settings) -> dg.AssetChecksDefinition:
    before = settings.lateness_days
    says = {
        **VIOLATIONS,
        WINDOW: f"each day from {before} days before the day to the day itself was delivered",
        LATE_SHARE: f"at most {settings.late_warn_share:.0%} of the accepted rows are dated before their batch",
    }

    @dg.multi_asset_check(name="checks_of_ods_sessions", specs=_specs(ODS_SESSIONS.name, says, days), can_subset=True)
    def checks_of_ods_sessions(
        context: dg.AssetCheckExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        session_rule: SessionRuleResource,
    ) -> Iterator[dg.AssetCheckResult]:
        """Judge the stored rows that the days could touch, all checks in one scan."""
        asked = days_of_run(context, days)
        entries = lake.ledger().entries()
        with step(context.log):
            opened = lake.open(pyspark)
            inspected = _inspected(opened, asked, session_rule.rule)
        findings = [finding for day, found in inspected for finding in _of_a_day(day, found, entries, settings)]
        yield from report(context, ODS_SESSIONS.name, findings)

    return checks_of_ods_sessions


def _specs(asset: str, says: Mapping[str, str], days: dg.DailyPartitionsDefinition) -> list[dg.AssetCheckSpec]:
    with warnings.catch_warnings():
        # Partitioned checks are a preview. The minor version of Dagster is pinned, and tests read the states back.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name, asset=asset, description=f"{holds[0].upper()}{holds[1:]}.", blocking=name in BLOCKING,
                partitions_def=days,
            )
            for name, holds in says.items()
        ]  # fmt: skip


def _of_a_batch(day: date, entry: Entry | None, lake: LakeResource, most: float) -> Iterator[Finding]:
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
    yield Finding(QUARANTINE_RATE, day, share <= most, {"share": round(share, 4)}, warn)
    yield Finding(NOT_EMPTY, day, delivered > 0, counts, warn)


def _inspected(lake: Lake, days: Sequence[date] | None, rule: SessionRule) -> list[tuple[date | None, Inspection]]:
    return [(None, inspect_all(lake, rule))] if days is None else [*inspect(lake, days, rule).items()]


def _of_a_day(
    day: date | None, found: Inspection, entries: Mapping[date, Entry], settings: Settings
) -> Iterator[Finding]:
    yield from _of_the_sessions(day, found, entries)
    yield _of_the_window(day, entries, settings)
    yield _of_lateness(day, found, settings.late_warn_share)


def _of_the_sessions(day: date | None, found: Inspection, entries: Mapping[date, Entry]) -> Iterator[Finding]:
    judged = {"delivered": day is None or day in entries, "rows_judged": found.rows_judged}
    for check in VIOLATIONS:
        metadata: dict[str, Any] = {"rows": found.broken.get(check, 0), **judged}
        if check in found.broken:
            metadata["examples"] = of_rows(found.examples[check], ROW_COLUMNS)
        yield Finding(check, day, check not in found.broken, metadata)


def _of_the_window(day: date | None, entries: Mapping[date, Entry], settings: Settings) -> Finding:
    last = day or max(entries, default=settings.first_day)
    first = day - timedelta(days=settings.lateness_days) if day else min(entries, default=settings.first_day)
    window = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    missing = [other for other in window if other >= settings.first_day and other not in entries]
    metadata = {"days_missing": len(missing), "missing": ", ".join(map(str, missing)) or "none"}
    return Finding(WINDOW, day, not missing, metadata, dg.AssetCheckSeverity.WARN)


def _of_lateness(day: date | None, found: Inspection, most: float) -> Finding:
    share = found.rows_late / max(found.rows_accepted, 1)
    metadata = {"share": round(share, 4), "rows_late": found.rows_late, "rows_accepted": found.rows_accepted}
    return Finding(LATE_SHARE, day, share <= most, metadata, dg.AssetCheckSeverity.WARN)
