"""Findings of a day: plain arithmetic over values, without Dagster, Spark or a table."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from sessions_assets.lake.ledger import Entry
from sessions_assets.pipeline.actions import DayActions
from sessions_assets.pipeline.audit import (
    CONSERVATION,
    DRIFT,
    LATE_SHARE,
    NOT_EMPTY,
    QUARANTINE_RATE,
    WINDOW,
    Arrival,
    DayFinding,
    Limits,
    RawCounts,
    actions_finding,
    arrival,
    batch_findings,
    day_findings,
    drift_finding,
    not_applied,
)
from sessions_assets.pipeline.inspections import Inspection
from sessions_assets.rule.violations import DUPLICATE, VIOLATIONS

DAY = date(2025, 3, 10)
NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
LIMITS = Limits(
    quarantine_share=0.05, late_share=0.2, first_day=DAY - timedelta(days=30), lateness_days=5, duration_hours=24
)
LANDED = Entry(DAY, "2025-03-10.csv", "mark", 100, 95, 5, NOON)
APPLIED = replace(LANDED, applied_at=NOON)
LOOKALIKES = "event ids differ from user actions by white space alone, so are none: "
KEPT = RawCounts({DAY: 95}, {DAY: 5})


def of_batch(entry: Entry | None, counts: RawCounts = KEPT) -> dict[str, DayFinding]:
    return {finding.check: finding for finding in batch_findings(DAY, entry, counts, LIMITS)}


def of_day(found: Inspection, entries: dict[date, Entry], day: date | None = DAY) -> dict[str, DayFinding]:
    return {finding.check: finding for finding in day_findings(day, found, entries, LIMITS)}


def test_a_batch_that_was_kept_whole_passes() -> None:
    found = of_batch(LANDED)
    assert [finding.passed for finding in found.values()] == [True, True, True]
    assert found[CONSERVATION].numbers == {
        "delivered": True, "rows_delivered": 100, "raw_events": 95, "raw_quarantine": 5,
    }  # fmt: skip
    assert [name for name, finding in found.items() if finding.is_warning] == [QUARANTINE_RATE, NOT_EMPTY]


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        (LANDED, RawCounts({DAY: 94}, {DAY: 5})),
        (LANDED, RawCounts({DAY: 95}, {DAY: 6})),
        (LANDED, RawCounts({DAY: 96}, {DAY: 4})),
        (LANDED, RawCounts({}, {})),
        (replace(LANDED, rows_delivered=101), KEPT),
        (replace(LANDED, landed_at=None), KEPT),
        (None, KEPT),
    ],
)
def test_rows_that_are_missing_or_too_many_fail_conservation(entry: Entry | None, counts: RawCounts) -> None:
    assert not of_batch(entry, counts)[CONSERVATION].passed


def test_a_day_without_a_batch_has_no_rows_to_lose() -> None:
    """It is a warning that there is none (R20)."""
    found = of_batch(None, RawCounts({}, {}))
    assert {name: finding.passed for name, finding in found.items()} == {
        CONSERVATION: True, QUARANTINE_RATE: True, NOT_EMPTY: False,
    }  # fmt: skip


def test_more_than_the_share_of_refused_rows_is_a_warning() -> None:
    assert of_batch(LANDED)[QUARANTINE_RATE].numbers == {"share": 0.05}
    more = replace(LANDED, rows_accepted=94, rows_quarantined=6)
    assert not of_batch(more)[QUARANTINE_RATE].passed


@pytest.mark.parametrize(
    ("found", "remark"),
    [
        (DayActions(), ""),
        (DayActions(rows=5, actions=1), ""),
        (DayActions(rows=5), "2025-03-10: none of 5 events is a user action"),
        (
            DayActions(rows=9, actions=1, padded={"b\t": 1, " a": 3}),
            f"2025-03-10: {LOOKALIKES}3 rows ' a', 1 rows 'b\\t'",
        ),
        (
            DayActions(rows=7, padded={" a": 1, "a ": 1, "\ta": 1, "a\t": 1, " b": 1, "b ": 2}),
            (
                f"2025-03-10: none of 7 events is a user action; {LOOKALIKES}"
                "2 rows 'b ', 1 rows '\\ta', 1 rows ' a', 1 rows ' b', 1 rows 'a\\t' and 1 more ids"
            ),
        ),
    ],
)
def test_a_day_without_actions_or_with_ids_like_theirs_is_a_warning(found: DayActions, remark: str) -> None:
    finding = actions_finding(DAY, found)
    assert (finding.passed, finding.is_warning, finding.remark) == (not remark, True, remark)


def landed_with(*names: str) -> Entry:
    return replace(LANDED, attributes=json.dumps(names))


def drift(*window: Entry | None, delivered: Entry | None, lateness_days: int = 5) -> DayFinding:
    """Compare a batch with those of the days before it, the oldest first; None: there was none."""
    batches = [*window, delivered]
    days = [DAY - timedelta(days=number) for number in range(len(window), -1, -1)]
    entries = {day: entry for day, entry in zip(days, batches, strict=True) if entry}
    return drift_finding(DAY, entries, lateness_days)


def changes(finding: DayFinding) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in finding.examples]


@pytest.mark.parametrize(
    ("window", "names", "expected"),
    [
        ([(), ()], [], []),
        ([("os",), ("os", "app")], ["os", "app"], []),
        ([("os",), ("app",)], ["os", "app"], []),
        ([(), ("os",)], ["os", "app"], [("app", "new", "0 of 2")]),
        ([("os", "app"), ("os",)], [], [("app", "missing", "1 of 2"), ("os", "missing", "2 of 2")]),
        ([("App",)], ["app"], [("app", "new", "0 of 1"), ("App", "missing", "1 of 1")]),
    ],
)
def test_attributes_are_compared_with_those_of_the_window(
    window: list[tuple[str, ...]], names: list[str], expected: list[tuple[str, ...]]
) -> None:
    """A name is new if no day of the window has it, and missing if one has it; names are compared exactly (R23)."""
    finding = drift(*[landed_with(*those) for those in window], delivered=landed_with(*names))
    assert (finding.check, finding.passed, finding.is_warning) == (DRIFT, not expected, True)
    assert changes(finding) == expected
    assert [*finding.examples[0]] == ["name", "change", "days_with_it"] if expected else not finding.examples


def test_a_drift_names_the_days_it_is_about() -> None:
    """Those of the window that have landed, with events, by an edition that kept the names."""
    os = landed_with("os")
    left_out = [replace(os, landed_at=None), replace(os, rows_accepted=0), replace(os, attributes=None), None]
    finding = drift(landed_with("app"), os, *left_out, delivered=landed_with("os", "x", "y"))
    assert finding.numbers == {
        "compared_with": "2025-03-05", "days_compared": 1, "names_new": 2, "names_missing": 0, "names_not_shown": 0,
    }  # fmt: skip
    older = drift(landed_with("app"), os, *left_out, delivered=os, lateness_days=6)
    assert older.numbers == {
        "compared_with": "2025-03-04, 2025-03-05", "days_compared": 2, "names_new": 0, "names_missing": 1,
        "names_not_shown": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("window", "delivered", "lateness_days"),
    [
        ([], landed_with("os"), 5),
        ([None, replace(LANDED, attributes=None)], landed_with("os"), 5),
        ([landed_with("app")], landed_with("os"), 0),
        ([landed_with("os")], None, 5),
        ([landed_with("os")], LANDED, 5),
        ([landed_with("os")], replace(landed_with(), rows_accepted=0), 5),
        ([landed_with("os")], replace(landed_with(), landed_at=None), 5),
    ],
)
def test_a_batch_that_is_compared_with_none_has_no_drift(
    window: list[Entry | None], delivered: Entry | None, lateness_days: int
) -> None:
    finding = drift(*window, delivered=delivered, lateness_days=lateness_days)
    assert (finding.passed, changes(finding)) == (True, [])
    assert finding.numbers == {
        "compared_with": "no day of the window", "days_compared": 0, "names_new": 0, "names_missing": 0,
        "names_not_shown": 0,
    }  # fmt: skip


def test_of_many_names_the_first_hundred_are_shown() -> None:
    new = [f"n{number:03}" for number in range(99)]
    finding = drift(landed_with("z", "y", "x"), delivered=landed_with(*new))
    assert changes(finding)[98:] == [("n098", "new", "0 of 1"), ("x", "missing", "1 of 1")]
    assert (finding.numbers["names_new"], finding.numbers["names_missing"]) == (99, 3)
    assert finding.numbers["names_not_shown"] == 2


def test_each_violation_is_a_finding_with_its_examples() -> None:
    rows = [{"user_id": "u"}]
    found = of_day(Inspection(rows_judged=7, broken={DUPLICATE: 2}, examples={DUPLICATE: rows}), {DAY: APPLIED})
    assert [*found] == [*VIOLATIONS, WINDOW, LATE_SHARE]
    assert [name for name in VIOLATIONS if not found[name].passed] == [DUPLICATE]
    assert found[DUPLICATE].numbers == {"rows": 2, "delivered": True, "rows_judged": 7}
    assert found[DUPLICATE].examples == rows
    assert not found[DUPLICATE].is_warning


def test_the_window_is_the_day_and_the_days_of_the_lateness_before_it() -> None:
    entries = {DAY - timedelta(days=number): APPLIED for number in range(6)}
    assert of_day(Inspection(), entries)[WINDOW].passed
    for absent in entries:
        others = {day: entry for day, entry in entries.items() if day != absent}
        window = of_day(Inspection(), others)[WINDOW]
        assert (window.passed, window.numbers) == (False, {"days_missing": 1, "missing": str(absent)})


def test_days_before_the_first_are_not_missing() -> None:
    (finding,) = (
        f for f in day_findings(DAY, Inspection(), {DAY: APPLIED}, replace(LIMITS, first_day=DAY)) if f.check == WINDOW
    )
    assert finding.passed


def test_the_window_of_the_whole_table_is_from_its_first_to_its_last_day() -> None:
    entries = {DAY + timedelta(days=number): APPLIED for number in (0, 1, 3)}
    window = of_day(Inspection(), entries, None)[WINDOW]
    assert (window.passed, window.numbers["missing"]) == (False, "2025-03-12")


@pytest.mark.parametrize(("late", "accepted", "passed"), [(1, 5, True), (2, 9, False), (0, 0, True)])
def test_more_than_the_share_of_late_rows_is_a_warning(late: int, accepted: int, passed: bool) -> None:  # noqa: FBT001
    found = of_day(Inspection(rows_accepted=accepted, rows_late=late), {DAY: APPLIED})[LATE_SHARE]
    assert (found.passed, found.is_warning) == (passed, True)
    assert (found.numbers["rows_late"], found.numbers["rows_accepted"]) == (late, accepted)


def test_how_far_a_batch_has_come() -> None:
    assert arrival(None) is Arrival.NOT_LANDED
    assert arrival(replace(LANDED, landed_at=None)) is Arrival.NOT_LANDED
    assert arrival(LANDED) is Arrival.NOT_APPLIED
    assert arrival(APPLIED) is Arrival.APPLIED


def test_a_batch_is_work_unless_it_is_applied_as_it_is_now() -> None:
    assert not_applied({DAY: "mark"}, {DAY: APPLIED}) == {}
    for found, ledger in (("other", {DAY: APPLIED}), ("mark", {DAY: LANDED}), ("mark", {})):
        assert not_applied({DAY: found}, ledger) == {DAY: found}
