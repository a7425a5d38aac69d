"""Through which date events are settled and sealed, and what a run says that changes settled sessions (R30)."""

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.ods import notes_by_day
from sessions_assets.lake.settled import NOT_SETTLED, Calendar, Settled, settled, told
from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.pipeline import maintain
from sessions_assets_tests.deployment import Deployment, metadata
from sessions_assets_tests.tables import day, event, write_batches

NOW = datetime(2025, 4, 1, tzinfo=UTC)


def entry(number: int, *, applied: bool = True, expired: bool = False) -> Entry:
    """Return the entry of a day that has landed."""
    return Entry(day(number), "b.csv", "f", 1, 1, 0, NOW, NOW if applied else None, NOW if expired else None)


@pytest.mark.parametrize(
    ("entries", "first", "expected"),
    [
        pytest.param([], 0, NOT_SETTLED, id="nothing was delivered"),
        pytest.param([entry(0, applied=False)], 0, NOT_SETTLED, id="nothing was applied"),
        pytest.param([entry(0)], 0, Settled(day(-5)), id="one day"),
        pytest.param([entry(n) for n in range(8)], 0, Settled(day(2)), id="eight days"),
        pytest.param([entry(n) for n in (0, 1, 3, 4)], 0, Settled(day(-4)), id="a day is missing"),
        pytest.param([entry(0), entry(1, applied=False), entry(2)], 0, Settled(day(-5)), id="a day is not applied"),
        pytest.param([entry(n) for n in (3, 4)], 0, NOT_SETTLED, id="the first days are missing"),
        pytest.param([entry(n) for n in (3, 4)], None, Settled(day(-1)), id="no day is expected before the first one"),
        pytest.param(
            [entry(n, expired=n < 2) for n in range(9)], 0, Settled(day(3), day(-4)), id="two days have expired"
        ),
    ],
)
def test_dates_that_are_final(entries: list[Entry], first: int | None, expected: Settled) -> None:
    calendar = Calendar(None if first is None else day(first), 5)
    assert settled({found.day: found for found in entries}, calendar) == expected


@pytest.fixture(scope="module")
def corrected(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, dict[str, object]]:
    """A week in one run; then day 0 comes again without the second of three actions, and day 6 with another one."""
    folder = tmp_path_factory.mktemp("settled")
    deployment = Deployment(spark, folder / "lake", folder / "landing", first_day=day(0))
    three = [event("a", "10:00"), event("b", "10:04"), event("c", "10:08"), event("a", "10:00", user="v")]
    batches = {day(number): [event("a", "20:00", number)] for number in range(1, 7)} | {day(0): three}
    write_batches(folder / "landing", batches)
    names = ("raw_events", "ods_sessions", "sessions")
    first = deployment.materialize(day(0), day(6), only=names)
    assert first.success
    write_batches(folder / "landing", {day(0): [three[0], *three[2:]], day(6): [event("a", "21:00", 6)]})
    second = deployment.materialize(day(0), day(6), only=names, checks=True)
    assert second.success
    return deployment, {
        "first": metadata(first, "ods_sessions"), "second": metadata(second, "ods_sessions"),
        "sessions": metadata(second, "sessions"),
        "check": next(e for e in second.get_asset_check_evaluations() if e.check_name == "settled_unchanged"),
    }  # fmt: skip


def test_each_run_tells_how_far_dates_are_final(corrected: tuple[Deployment, dict[str, object]]) -> None:
    """In the metadata of each day, in the ledger and in the notes of the commit."""
    deployment, shown = corrected
    for run, changed in (("first", 0), ("second", 2)):
        of_run = shown[run]
        assert isinstance(of_run, dict)
        keys = ("settled_through", "sealed_through", "settled_lag_days", "run/settled_sessions_changed")
        assert {tuple(numbers[key] for key in keys) for numbers in of_run.values()} == {
            (str(day(1)), "none", 5, changed)
        }
    entries = deployment.lake.ledger.entries()
    assert {(found.settled_through, found.sealed_through) for found in entries.values()} == {(day(1), None)}
    assert told(entries) == day(1)
    notes = notes_by_day(deployment.lake.snapshot(ODS_SESSIONS))[day(6)]
    assert (notes["settled_through"], notes["settled_before"]) == (str(day(1)), str(day(1)))


def test_settled_sessions_that_change_are_named(corrected: tuple[Deployment, dict[str, object]]) -> None:
    """The session that lost an action, and the one that the rest of it became; not those of newer dates."""
    deployment, shown = corrected
    notes = notes_by_day(deployment.lake.snapshot(ODS_SESSIONS))[day(0)]
    ids = [f"u#I#{day(0)} 10:00:00", f"u#I#{day(0)} 10:08:00"]
    assert notes["settled_changed"] == {"sessions": 2, "examples": ids, "dates": [str(day(0)), str(day(0))]}
    check = shown["check"]
    assert not check.passed  # type: ignore[attr-defined]
    of_sessions = shown["sessions"]
    assert isinstance(of_sessions, dict)
    # One pair of ids: rows of the settled session that moved to the new one; and one that is in none.
    assert {numbers["ids/settled"] for numbers in of_sessions.values()} == {2}


def test_dates_are_sealed_when_their_days_are_closed(corrected: tuple[Deployment, dict[str, object]]) -> None:
    deployment, _ = corrected
    lake = deployment.lake
    calendar = Calendar(day(0), 5)
    assert maintain.expire(lake.spark, lake, timedelta(days=5), calendar) == [day(0)]
    assert {found.day: found.sealed_through for found in lake.ledger.entries().values() if found.sealed_through} == {
        day(0): day(-5)
    }


def test_a_day_that_changes_nothing_is_not_blamed(corrected: tuple[Deployment, dict[str, object]]) -> None:
    """Its ledger entry names the commit before; the day whose batch was corrected keeps its warning."""
    deployment, _ = corrected
    write_batches(deployment.folder.parent / "landing", {day(7): []})
    run = deployment.materialize(day(7), only=("raw_events", "ods_sessions"))
    assert run.success
    notes = notes_by_day(deployment.lake.snapshot(ODS_SESSIONS))
    assert day(7) not in notes
    assert notes[day(0)]["settled_changed"]["sessions"] == notes[None]["settled_changed"]["sessions"] == 2
