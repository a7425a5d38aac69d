"""What may notice a broken algorithm: the named cases, the packed histories, and the asset checks of the project.

Each function runs the real code, as it is at that time, and returns what comes out wrong: nothing for the real rule.
"""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.lake.raw import as_events
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.inspections import inspect_all
from sessions_assets.rule.id_changes import id_changes, moved_rows
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import all_sessions
from sessions_assets.rule.summaries import compared, summaries
from sessions_assets.rule.summary_violations import SUMMARY_VIOLATIONS, summary_violations
from sessions_assets.rule.violations import VIOLATIONS, violations_of_all
from sessions_assets_tests import incremental_cases, test_incremental, test_rule, test_sessions
from sessions_assets_tests.deployment import Deployment
from sessions_assets_tests.fuzzing import OddFile, odd_file
from sessions_assets_tests.fuzzing_laws import broken_laws
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import IdChange, Summary, expected_id_changes, expected_summaries
from sessions_assets_tests.tables import day, event, frame, session_rows, stored_rows, write_batches
from sessions_assets_tests.test_histories import Comparison, in_halves, play


def cases_of_the_rule(spark: SparkSession, folder: Path) -> list[str]:
    """Return the names of the cases of whole sets of events that have other sessions than expected."""
    del folder
    rows = [(row._replace(user_id=name), day(2)) for name, (found, _) in test_rule.CASES.items() for row in found]
    table = session_rows(all_sessions(frame(spark, rows), SessionRule()))
    wrong = []
    for name, (_, expected) in test_rule.CASES.items():
        found = sorted((row for row in table if row.user_id == name), key=lambda row: (row.timestamp, row.event_id))
        if [row.session_start and row.session_start.time().isoformat() for row in found] != expected:
            wrong.append(name)
    return wrong


def cases_of_deliveries(spark: SparkSession, folder: Path) -> list[str]:
    """Return the names of the cases of late and repeated deliveries that have other rows than expected."""
    lake = Lake(spark, str(folder / "lake"))
    wrong: dict[str, None] = {}
    for run, number in enumerate(incremental_cases.SCRIPT):
        incremental_cases.deliver(lake, folder / "landing", day(number), incremental_cases.batch(run))
        apply(lake.spark, lake, [day(number)], SessionRule())
        table = stored_rows(lake)
        for name, (_, expected) in incremental_cases.CASES.items():
            found = incremental_cases.as_text([row for row in table if row.user_id == name])
            if expected.get(run, found) != found:
                wrong[name] = None
        if wrong:
            break
    return list(wrong)


def odd_json(spark: SparkSession, folder: Path) -> list[str]:
    """Return the laws of landing that JSON files changed at random break, the first ones."""
    return _first_broken(spark, folder, [odd_file("json", number) for number in range(150)])


def odd_parquet(spark: SparkSession, folder: Path) -> list[str]:
    """Return the laws of landing that Parquet files changed at random break, the first ones."""
    return _first_broken(spark, folder, [odd_file("parquet", number) for number in range(40)])


def _first_broken(spark: SparkSession, folder: Path, files: list[OddFile]) -> list[str]:
    for start in range(0, len(files), 20):
        if broken := broken_laws(spark, folder / "landing", files[start : start + 20]):
            return broken
    return []


def histories(spark: SparkSession, folder: Path) -> list[str]:
    """Return whether packed histories end with other rows than the model, or write another number of them."""
    lake, others = Lake(spark, str(folder / "lake")), {"II": timedelta(hours=13)}
    comparison = Comparison(lake, folder / "landing", timedelta(hours=6), timeouts=others)
    try:
        play(comparison, Random(1), 60, in_halves)  # noqa: S311 - repeatable, not secret
    except AssertionError:
        return ["packed histories"]
    return []


def long_session(spark: SparkSession, folder: Path) -> list[str]:
    """Return whether a session is lost whose last action is a whole T back."""
    return _broken(test_incremental.test_session_longer_than_the_window_keeps_its_id, spark, folder)


def longer_timeout(spark: SparkSession, folder: Path) -> list[str]:
    """Return whether a session is lost whose last action is a whole T of its product back, and no default T."""
    return _broken(test_incremental.test_a_product_with_a_longer_timeout_keeps_its_session, spark, folder)


def _broken(test: Callable[[Lake, Path], None], spark: SparkSession, folder: Path) -> list[str]:
    """Return the name of a test if it fails in a new lake."""
    try:
        test(Lake(spark, str(folder / "lake")), folder)
    except AssertionError:
        return [test.__name__]
    return []


def violated(spark: SparkSession, folder: Path) -> list[str]:
    """Return what the sessions of difficult events violate, computed and judged at once."""
    del folder
    rule = SessionRule(timeouts={"shop": timedelta(seconds=60)}, carried=("first", "second"))
    batch = _with_attributes(frame(spark, [(row, day(2)) for row in _DIFFICULT]), rule)
    stored = all_sessions(batch, rule).localCheckpoint()
    judged = violations_of_all(stored, batch, [day(2)], rule)
    found = judged.agg(*[F.count_if(name).alias(name) for name in VIOLATIONS]).collect()[0]
    return [name for name in VIOLATIONS if found[name]]


def derived(spark: SparkSession, folder: Path) -> list[str]:
    """Return what is wrong in summaries and changes of ids of the cases of moves, each case as another user.

    A name of a check is among them if the summaries violate it.
    """
    del folder
    cases = test_sessions.MOVES.items()
    first = [(row._replace(user_id=user), day(0)) for user, moves in cases for row in moves.first]
    second = [
        (row._replace(user_id=user), day(number))
        for user, moves in cases
        for number, events in ({0: moves.first} | moves.second).items()
        for row in events
    ]
    before, after = (all_sessions(frame(spark, rows), SessionRule()).localCheckpoint() for rows in (first, second))
    told = summaries(after).localCheckpoint()
    wrong = [] if _summaries(told) == expected_summaries(session_rows(after)) else ["summaries"]
    address = F.lit(None).cast("string").alias("row_address")
    states = compared(summaries(before).select("*", address), told)
    settled_end = datetime.combine(day(0), time(10, 9), UTC)
    changes = id_changes(moved_rows(before, after), states, settled_end, SessionRule()).collect()
    found = sorted((IdChange(*row[:4]) for row in changes), key=str)
    wrong += [] if found == expected_id_changes(session_rows(before), session_rows(after)) else ["changes of ids"]
    # Their last action is at 10:00 or 10:02: with the timeout before the end.
    settled = {
        (row["old_session_id"].split("#")[0], row["old_session_id"][-8:]) for row in changes if row["was_settled"]
    }
    one_action = {
        ("late actions before two sessions join both", "10:00:00"),
        ("removed first action of two at its instant keeps the id", "10:00:00"),
    }
    wrong += [] if settled == one_action else ["settled"]
    judged = summary_violations(told, after.where(F.col("session_id").isNotNull()))
    broken = judged.agg(*[F.count_if(name).alias(name) for name in SUMMARY_VIOLATIONS]).collect()[0]
    return wrong + [name for name in SUMMARY_VIOLATIONS if broken[name]]


def _summaries(rows: DataFrame) -> list[Summary]:
    """Collect summaries, sorted; naive times mean UTC."""
    times = {name: F.col(name).cast("timestamp_ntz") for name in ("session_start", "session_end")}
    return sorted(Summary(*row) for row in rows.withColumns(times).collect())


def _with_attributes(rows: DataFrame, rule: SessionRule) -> DataFrame:
    """Return accepted rows three times, with different carried values."""
    attributes = F.explode(F.from_json(F.lit('[{"first": "m"}, {}, {"first": "n"}]'), "array<map<string, string>>"))
    return as_events(rows.withColumn("attributes", attributes), rule.carried)


def asset_checks(spark: SparkSession, folder: Path) -> list[str]:
    """Return the checks of ods_sessions that fail for a day of difficult events, and for the whole table too."""
    write_batches(folder / "landing", {day(2): [*_DIFFICULT, event("a", "10:00", product="\u2003")]})
    deployment = Deployment(spark, folder / "lake", folder / "landing")
    run = deployment.materialize(day(2), checks=True)
    failed = {found.check_name for found in run.get_asset_check_evaluations() if not found.passed}
    broken = inspect_all(deployment.lake.spark, deployment.lake, SessionRule()).broken
    return [name for name in VIOLATIONS if name in failed and name in broken]


_DIFFICULT = [
    *[row._replace(user_id=name) for name, (events, _) in test_rule.CASES.items() for row in events],
    event("a", "23:59:59.000010", user="00#7%", product="I#I"),
    event("x", "00:00", 1, user="00#7%", product="I#I"),
    event("a", "10:00", user="%23", product="%25"),
    *[event("a", clock, user="of two", product=product) for product in ("shop", "I") for clock in ("10:00", "10:02")],
]
