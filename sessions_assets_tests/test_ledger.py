"""The ledger: one row a day, written by several runs at once, never marked for a batch that is not the landed one."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sessions_assets.lake.ledger import Entry, Ledger
from sessions_assets_tests.tables import day

LANDED_AT = datetime(2025, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "deliveries"))


def entry(number: int, **changes: object) -> Entry:
    return replace(Entry(day(number), f"{day(number)}.csv", "f1", 3, 2, 1, LANDED_AT), **changes)


def test_one_row_a_day_read_back_as_it_was_written(ledger: Ledger) -> None:
    assert ledger.entries([day(0)]) == {}
    ledger.record([entry(1), entry(0)])
    ledger.record([entry(1, fingerprint="f2")])
    assert ledger.entries([day(2), day(1), day(0)]) == {day(0): entry(0), day(1): entry(1, fingerprint="f2")}


def test_a_landing_is_noted_when_it_begins_and_taken_back_when_it_fails(ledger: Ledger) -> None:
    """What is being landed is neither landed nor applied; a day that was new is forgotten again."""
    ledger.record([entry(0, applied_at=LANDED_AT)])
    known = ledger.begin([entry(0, fingerprint="f2"), entry(1)])
    assert known == {day(0): entry(0, applied_at=LANDED_AT)}
    assert ledger.entries() == {day(0): entry(0, fingerprint="f2", landed_at=None), day(1): entry(1, landed_at=None)}
    ledger.take_back([day(0), day(1)], known)
    assert ledger.entries() == known


def test_compaction_keeps_all_rows(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(5):
        ledger.record([entry(number)])
    ledger.compact()
    assert ledger.entries() == {day(number): entry(number) for number in range(5)}
    assert len(list((tmp_path / "deliveries").glob("_delta_log/*.checkpoint.parquet"))) == 1


def test_a_day_that_landed_anew_stays_unapplied(ledger: Ledger) -> None:
    """The same file may have been landed under another lateness: the landing counts, not the file."""
    ledger.record([entry(0), entry(1)])
    read = ledger.entries([day(0), day(1)])
    ledger.record([entry(1, landed_at=LANDED_AT + timedelta(microseconds=1))])
    ledger.record_applied(read.values(), "c1")
    applied = {arrival: row.applied_at is not None for arrival, row in ledger.entries([day(0), day(1)]).items()}
    assert applied == {day(0): True, day(1): False}


def test_runs_that_write_at_once_lose_nothing(ledger: Ledger) -> None:
    ledger.record([entry(0)])
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(ledger.record, [entry(number)]) for number in range(1, 13)]
        writes += [pool.submit(ledger.record_applied, [entry(0)], "c1") for _ in range(4)]
    assert [write.result() for write in writes] == [None] * 16
    rows = ledger.entries([day(number) for number in range(13)])
    assert len(rows) == 13
    assert rows[day(0)].applied_at is not None
