"""Findings of a day: of its batch, its rows in ods_sessions and their summaries; the state of its batch.

Arithmetic over values that were read before. Must not know Dagster, tables, paths, or how a row is judged.
Source of the rules: R7 (ids as delivered), R8, R12, R13 (quarantine), R11 (the window), R20 (empty is not missing), R23
(attributes), R28 (summaries), R30 (settled).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import Any

from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.sessions import LongSessions
from sessions_assets.pipeline.actions import DayActions
from sessions_assets.pipeline.inspections import Inspection
from sessions_assets.pipeline.summary_inspections import SummaryInspection
from sessions_assets.rule.summary_violations import SUMMARY_VIOLATIONS
from sessions_assets.rule.violations import VIOLATIONS

CONSERVATION, QUARANTINE_RATE, NOT_EMPTY = "conservation", "quarantine_rate", "batch_not_empty"
USER_ACTIONS, DRIFT = "user_actions_found", "attributes_drift"
WINDOW, LATE_SHARE = "window_complete", "late_share"
SETTLED_UNCHANGED, DURATION = "settled_unchanged", "plausible_durations"

SHOWN_ATTRIBUTES = 100
"""How many names of attributes are shown of a day."""

_NAMED_IDS = 5


@dataclass(frozen=True)
class DayFinding:
    """The outcome of one check for one day.

    Attributes:
        check: its name.
        day: the arrival day; None: the whole table.
        passed: whether what the check asserts holds.
        numbers: what was compared, by name.
        is_warning: a failure stops nothing.
        examples: some of the offending rows or names, as column -> value; all have the same columns.
        remark: a sentence for the log of the run, of a failure that its numbers alone do not explain.
    """

    check: str
    day: date | None
    passed: bool
    numbers: Mapping[str, Any]
    is_warning: bool = False
    examples: Sequence[Mapping[str, Any]] = ()
    remark: str = ""


@dataclass(frozen=True)
class Limits:
    """What a day is compared with: greatest shares and hours without a warning, first day, lateness N in days."""

    quarantine_share: float
    late_share: float
    first_day: date
    lateness_days: int
    duration_hours: int


@dataclass(frozen=True)
class RawCounts:
    """The numbers of rows in raw_events and raw_quarantine, by arrival day."""

    events: Mapping[date, int]
    quarantined: Mapping[date, int]


def batch_findings(day: date, entry: Entry | None, counts: RawCounts, limits: Limits) -> Iterator[DayFinding]:
    """Yield the findings of one batch: conservation, quarantine rate, not empty. No entry: it was not delivered."""
    delivered, accepted, refused = (
        (entry.rows_delivered, entry.rows_accepted, entry.rows_quarantined) if entry else (0, 0, 0)
    )
    events, quarantined = counts.events.get(day, 0), counts.quarantined.get(day, 0)
    has_landed = entry is None or entry.landed_at is not None
    is_whole = has_landed and delivered == accepted + refused and (events, quarantined) == (accepted, refused)
    batch = {"delivered": entry is not None, "rows_delivered": delivered}
    yield DayFinding(CONSERVATION, day, is_whole, {**batch, "raw_events": events, "raw_quarantine": quarantined})
    share = refused / max(delivered, 1)
    is_usual = share <= limits.quarantine_share
    yield DayFinding(QUARANTINE_RATE, day, is_usual, {"share": round(share, 4)}, is_warning=True)
    yield DayFinding(NOT_EMPTY, day, delivered > 0, batch, is_warning=True)


def actions_finding(day: date, found: DayActions) -> DayFinding:
    """Return whether a day has a user action, and no id that only looks like one; a day without events passes."""
    most = sorted(found.padded.items(), key=lambda item: (-item[1], item[0]))
    ids = ", ".join(f"{rows} rows {event_id!r}" for event_id, rows in most[:_NAMED_IDS])
    more = f" and {len(most) - _NAMED_IDS} more ids" if len(most) > _NAMED_IDS else ""
    remarks = []
    if found.rows and not found.actions:
        remarks.append(f"none of {found.rows} events is a user action")
    if most:
        remarks.append(f"event ids differ from user actions by white space alone, so are none: {ids}{more}")
    numbers = {"events": found.rows, "user_actions": found.actions, "padded_rows": sum(found.padded.values())}
    remark = f"{day}: {'; '.join(remarks)}" if remarks else ""
    shown = {**numbers, "padded_ids": f"{ids}{more}" or "none"}
    return DayFinding(USER_ACTIONS, day, not remarks, shown, is_warning=True, remark=remark)


def drift_finding(day: date, entries: Mapping[date, Entry], lateness_days: int) -> DayFinding:
    """Return whether the batch of a day has the attributes of its window, the N days before it, and no others.

    Args:
        day: the arrival day.
        entries: the ledger, at least of the day and of its window.
        lateness_days: N.
    """
    delivered = _attributes(entries.get(day))
    before = [day - timedelta(days=number) for number in range(lateness_days, 0, -1)]
    of_window = {} if delivered is None else {other: _attributes(entries.get(other)) for other in before}
    window = {other: names for other, names in of_window.items() if names is not None}
    days_with = Counter(name for names in window.values() for name in names)
    names = delivered if window and delivered else set()
    changes = [(name, "new") for name in sorted(names - days_with.keys())]
    changes += [(name, "missing") for name in sorted(days_with.keys() - names)]
    numbers = {
        "compared_with": ", ".join(map(str, window)) or "no day of the window",
        "days_compared": len(window),
        "names_new": len(names - days_with.keys()),
        "names_missing": len(days_with.keys() - names),
        "names_not_shown": max(0, len(changes) - SHOWN_ATTRIBUTES),
    }
    shown = [
        {"name": name, "change": change, "days_with_it": f"{days_with[name]} of {len(window)}"}
        for name, change in changes[:SHOWN_ATTRIBUTES]
    ]
    return DayFinding(DRIFT, day, not changes, numbers, is_warning=True, examples=shown)


def _attributes(entry: Entry | None) -> set[str] | None:
    """Return the names of the attributes of a batch; None: it has no event, or an edition without them landed it."""
    if entry is None or entry.landed_at is None or not entry.rows_accepted or entry.attribute_names is None:
        return None
    return set(entry.attribute_names)


def day_findings(
    day: date | None, inspection: Inspection, entries: Mapping[date, Entry], limits: Limits
) -> Iterator[DayFinding]:
    """Yield the findings of one day, or of the whole table: violations, window, lateness.

    Args:
        day: the arrival day; None: the whole table.
        inspection: the outcome of judging its rows.
        entries: the whole ledger.
        limits: what the day is compared with.
    """
    judged = {"delivered": day is None or day in entries, "rows_judged": inspection.rows_judged}
    for check in VIOLATIONS:
        numbers = {"rows": inspection.broken.get(check, 0), **judged}
        yield DayFinding(
            check, day, check not in inspection.broken, numbers, examples=inspection.examples.get(check, ())
        )
    yield _window_finding(day, entries, limits)
    yield _lateness_finding(day, inspection, limits.late_share)


def settled_finding(day: date | None, notes: Mapping[str, Any] | None) -> DayFinding:
    """Return whether the commit that applied a day has left all settled sessions as they were (R30).

    Args:
        day: the arrival day; None: the whole table.
        notes: what that commit notes of itself; None: none is known.
    """
    changed = (notes or {}).get("settled_changed") or {}
    sessions = changed.get("sessions", 0)
    dates = " to ".join(dict.fromkeys(changed.get("dates", ()))) or "none"
    numbers = {"sessions": sessions, "dates": dates, "settled_before": (notes or {}).get("settled_before") or "none"}
    examples = [{"session_id": session_id} for session_id in changed.get("examples", ())]
    return DayFinding(SETTLED_UNCHANGED, day, not sessions, numbers, is_warning=True, examples=examples)


def summary_findings(
    day: date | None, inspection: SummaryInspection, longest: LongSessions, limits: Limits
) -> Iterator[DayFinding]:
    """Yield the findings of the summaries that a day touched, or of all: violations, durations.

    Args:
        day: the arrival day; None: the whole table.
        inspection: the outcome of judging them.
        longest: those that are longer than the limit.
        limits: what they are compared with.
    """
    for check in SUMMARY_VIOLATIONS:
        numbers = {"sessions": inspection.broken.get(check, 0), "sessions_judged": inspection.sessions_judged}
        yield DayFinding(
            check, day, check not in inspection.broken, numbers, examples=inspection.examples.get(check, ())
        )
    examples = [{"session_id": session_id, "hours": hours} for session_id, hours in longest.examples]
    numbers = {"sessions": longest.number, "limit_hours": limits.duration_hours}
    yield DayFinding(DURATION, day, not longest.number, numbers, is_warning=True, examples=examples)


def _window_finding(day: date | None, entries: Mapping[date, Entry], limits: Limits) -> DayFinding:
    last = day or max(entries, default=limits.first_day)
    first = day - timedelta(days=limits.lateness_days) if day else min(entries, default=limits.first_day)
    window = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    missing = [other for other in window if other >= limits.first_day and other not in entries]
    numbers = {"days_missing": len(missing), "missing": ", ".join(map(str, missing)) or "none"}
    return DayFinding(WINDOW, day, not missing, numbers, is_warning=True)


def _lateness_finding(day: date | None, inspection: Inspection, most: float) -> DayFinding:
    share = inspection.rows_late / max(inspection.rows_accepted, 1)
    numbers = {"share": round(share, 4), "rows_late": inspection.rows_late, "rows_accepted": inspection.rows_accepted}
    return DayFinding(LATE_SHARE, day, share <= most, numbers, is_warning=True)


class Arrival(Enum):
    """How far the batch of a day has come."""

    NOT_LANDED = "not landed"
    NOT_APPLIED = "landed, not applied"
    APPLIED = "applied"


def arrival(entry: Entry | None) -> Arrival:
    """Return how far the batch of a day has come. A landing that began and did not end does not count."""
    if entry is None or entry.landed_at is None:
        return Arrival.NOT_LANDED
    return Arrival.APPLIED if entry.applied_at else Arrival.NOT_APPLIED


def not_applied(fingerprints: Mapping[date, str], ledger: Mapping[date, Entry]) -> dict[date, str]:
    """Return the batches that ods_sessions has not applied in their present state.

    Args:
        fingerprints: of each batch in the landing.
        ledger: what has landed and been applied.
    """
    return {
        day: fingerprint
        for day, fingerprint in fingerprints.items()
        if day not in ledger or ledger[day].fingerprint != fingerprint or not ledger[day].applied_at
    }
