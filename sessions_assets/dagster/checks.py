"""The asset checks: which there are, which of them block, what each reads, and how its findings are shown.

Each day has its own state, in single and in range runs. Must not know the arithmetic of a finding, how a row is judged,
SQL, Spark settings or credentials.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import dagster as dg
from pyspark.sql import SparkSession

from sessions_assets.dagster.assets import arrival_days
from sessions_assets.dagster.check_states import Evaluation, days_of_run, report
from sessions_assets.dagster.metadata import rows_table
from sessions_assets.dagster.resources import LakeResource, SessionRuleResource, SparkResource
from sessions_assets.dagster.steps import step
from sessions_assets.lake.lake import Lake, count_rows
from sessions_assets.lake.ods import notes_by_day
from sessions_assets.lake.sessions import LongSessions, long_sessions
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE, SESSIONS
from sessions_assets.pipeline.actions import count_actions
from sessions_assets.pipeline.audit import (
    CONSERVATION,
    DRIFT,
    DURATION,
    LATE_SHARE,
    NOT_EMPTY,
    QUARANTINE_RATE,
    SETTLED_UNCHANGED,
    USER_ACTIONS,
    WINDOW,
    DayFinding,
    Limits,
    RawCounts,
    actions_finding,
    batch_findings,
    day_findings,
    drift_finding,
    settled_finding,
    summary_findings,
)
from sessions_assets.pipeline.inspections import Inspection, inspect, inspect_all
from sessions_assets.pipeline.summary_inspections import (
    SummaryInspection,
    inspect_all_summaries,
    inspect_summaries,
)
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.summary_violations import SUMMARY_VIOLATIONS
from sessions_assets.rule.violations import DUPLICATE, RECOMPUTED, VIOLATIONS
from sessions_assets.settings import Settings

BLOCKING = {CONSERVATION, DUPLICATE, RECOMPUTED, *SUMMARY_VIOLATIONS}


def build_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the assets, for the days, the lateness and the limits of the settings."""
    days = arrival_days(settings)
    limits = Limits(
        settings.quarantine_warn_share,
        settings.late_warn_share,
        settings.first_day,
        settings.lateness_days,
        settings.duration_warn_hours,
    )
    return [
        _checks_of_raw_events(days, limits),
        _checks_of_ods_sessions(days, limits),
        _checks_of_sessions(days, limits),
    ]


def _checks_of_raw_events(days: dg.DailyPartitionsDefinition, limits: Limits) -> dg.AssetChecksDefinition:
    assertions = {
        CONSERVATION: "each row of the batch is in `raw_events` or in `raw_quarantine`",
        QUARANTINE_RATE: f"at most {limits.quarantine_share:.0%} of the batch was refused",
        NOT_EMPTY: "there is a batch, and it has at least one row",
        USER_ACTIONS: "events have a user action among them, and no id differs from one by white space alone",
        DRIFT: f"the batch has the attributes of the {limits.lateness_days} days before it, and no others",
    }

    @dg.multi_asset_check(name="checks_of_raw_events", specs=_specs(RAW_EVENTS.name, assertions, days), can_subset=True)
    def checks_of_raw_events(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, session_rule: SessionRuleResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Compare the ledger with the row counts in the tables' logs, each read once; count the user actions."""
        asked = days_of_run(context, days)
        with step(context.log):
            opened = lake.open()
            entries = opened.ledger.entries()
            kept = [day for day in asked or entries if day not in entries or not entries[day].expired_at]
            raw_events, raw_quarantine = opened.find(RAW_EVENTS), opened.find(RAW_QUARANTINE)
            counts = RawCounts(count_rows(raw_events, kept), count_rows(raw_quarantine, kept))
            actions = count_actions(raw_events, kept, session_rule.rule)
        findings = [finding for day in kept for finding in batch_findings(day, entries.get(day), counts, limits)]
        findings += [actions_finding(day, found) for day, found in actions.items()]
        findings += [drift_finding(day, entries, limits.lateness_days) for day in kept]
        for remark in filter(None, (finding.remark for finding in findings)):
            context.log.warning(remark)
        yield from report(context, RAW_EVENTS.name, [_evaluation(finding) for finding in findings])

    return checks_of_raw_events


def _checks_of_ods_sessions(days: dg.DailyPartitionsDefinition, limits: Limits) -> dg.AssetChecksDefinition:
    before = limits.lateness_days
    assertions = {
        **VIOLATIONS,
        WINDOW: f"each day from {before} days before the day to the day itself was delivered",
        LATE_SHARE: f"at most {limits.late_share:.0%} of the accepted rows are dated before their batch",
        SETTLED_UNCHANGED: "the last run that changed rows for the day left all settled sessions as they were",
    }

    @dg.multi_asset_check(
        name="checks_of_ods_sessions", specs=_specs(ODS_SESSIONS.name, assertions, days), can_subset=True
    )
    def checks_of_ods_sessions(
        context: dg.AssetCheckExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        session_rule: SessionRuleResource,
    ) -> Iterator[dg.AssetCheckResult]:
        """Judge the stored rows that the batches of the days can have changed, for all checks in one scan."""
        asked = days_of_run(context, days)
        with step(context.log):
            opened = lake.open()
            entries = opened.ledger.entries()
            inspected = _inspected(pyspark.spark_session, opened, asked, session_rule.rule)
            notes = notes_by_day(opened.snapshot(ODS_SESSIONS))
        findings = [finding for day, rows in inspected for finding in day_findings(day, rows, entries, limits)]
        findings += [settled_finding(day, notes.get(day)) for day, _ in inspected]
        yield from report(context, ODS_SESSIONS.name, [_evaluation(finding) for finding in findings])

    return checks_of_ods_sessions


def _checks_of_sessions(days: dg.DailyPartitionsDefinition, limits: Limits) -> dg.AssetChecksDefinition:
    assertions = {
        **SUMMARY_VIOLATIONS,
        DURATION: f"no session is longer than {limits.duration_hours} hours",
    }

    @dg.multi_asset_check(name="checks_of_sessions", specs=_specs(SESSIONS.name, assertions, days), can_subset=True)
    def checks_of_sessions(
        context: dg.AssetCheckExecutionContext, pyspark: SparkResource, lake: LakeResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Compare the summaries that the batches of the days touched with the version that they equal."""
        asked = days_of_run(context, days)
        with step(context.log):
            opened = lake.open()
            inspected = _inspected_summaries(pyspark.spark_session, opened, asked)
            longest = long_sessions(opened.snapshot(SESSIONS), asked, limits.duration_hours)
        findings = [
            finding
            for day, summaries in inspected.items()
            for finding in summary_findings(day, summaries, longest.get(day, LongSessions()), limits)
        ]
        yield from report(context, SESSIONS.name, [_evaluation(finding) for finding in findings])

    return checks_of_sessions


def _inspected_summaries(
    spark: SparkSession, lake: Lake, days: Sequence[date] | None
) -> Mapping[date | None, SummaryInspection]:
    return {None: inspect_all_summaries(spark, lake)} if days is None else inspect_summaries(spark, lake, days)


def _specs(asset: str, assertions: Mapping[str, str], days: dg.DailyPartitionsDefinition) -> list[dg.AssetCheckSpec]:
    with warnings.catch_warnings():
        # Partitioned checks are a preview. The minor version of Dagster is pinned, and tests read the states back.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name, asset=asset, description=f"{holds[0].upper()}{holds[1:]}.", blocking=name in BLOCKING,
                partitions_def=days,
            )
            for name, holds in assertions.items()
        ]  # fmt: skip


def _inspected(
    spark: SparkSession, lake: Lake, days: Sequence[date] | None, rule: SessionRule
) -> list[tuple[date | None, Inspection]]:
    return [(None, inspect_all(spark, lake, rule))] if days is None else [*inspect(spark, lake, days, rule).items()]


def _evaluation(finding: DayFinding) -> Evaluation:
    severity = dg.AssetCheckSeverity.WARN if finding.is_warning else dg.AssetCheckSeverity.ERROR
    examples = {"examples": rows_table(finding.examples, [*finding.examples[0]])} if finding.examples else {}
    return Evaluation(finding.check, finding.day, finding.passed, {**finding.numbers, **examples}, severity)
