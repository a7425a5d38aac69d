"""`make demo`: materialize the sample batches in the default lake, in two runs, to show late-arriving data.

Both runs are executed in this process, as `dagster asset materialize` does, and recorded in DAGSTER_HOME. The log of
Dagster and Spark goes to a file there.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pyspark.sql import DataFrame

from sessions_assets.dagster.internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sessions_assets.dagster.resources import build_resources
from sessions_assets.definitions import build_definitions
from sessions_assets.lake.lake import Lake
from sessions_assets.lake.spark import read
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_QUARANTINE, SESSION_CHANGES
from sessions_assets.settings import FIRST_SAMPLE_DAY, Settings

LAST_DAY = date(2025, 3, 23)
# The batch of the next day contains an action of user 1 that is three days late and joins two sessions.
LAST_DAY_BEFORE = date(2025, 3, 17)
SHOWN_USER, SHOWN_PRODUCT = "1", "I"
# Version of ods_sessions that the first run commits; the second run commits the next one.
VERSION_BEFORE = 1

Metadata = dict[str, Any]


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Redirect standard error of this process and its JVM to a file."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(terminal, 2)
            print(f"failed: see {log}", file=sys.stderr)
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def materialize(definitions: dg.Definitions, first: date, last: date) -> list[dg.AssetMaterialization]:
    """Materialize the assets for a range of days, as one run."""
    print(f"\nmaterializing raw_events, ods_sessions and sessions for {first} ... {last}", end=" ", flush=True)
    started = time.monotonic()
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=dg.DagsterInstance.get(),
        tags={
            ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
            ASSET_PARTITION_RANGE_END_TAG: last.isoformat(),
        },
    )
    print(f"({time.monotonic() - started:.0f} s)")
    return [
        materialization
        for node in ("raw_events", "ods_sessions")
        for materialization in result.asset_materializations_for_node(node)
    ]


def numbers(materializations: Sequence[dg.AssetMaterialization], asset: str) -> dict[str, Metadata]:
    """Return the metadata of each day of an asset."""
    return {
        m.partition or "": {name: value.value for name, value in m.metadata.items()}
        for m in materializations
        if m.asset_key.to_user_string() == asset
    }


def show_days(materializations: Sequence[dg.AssetMaterialization]) -> None:
    """Print the counts of each batch, and the changes of the whole run."""
    raw, ods = numbers(materializations, "raw_events"), numbers(materializations, "ods_sessions")
    print(f"  {'batch':<19}{'rows':>6}{'quarantined':>13}{'late':>6}{'duplicates':>12}{'new events':>12}")
    for day, landed in raw.items():
        late = sum(rows for name, rows in landed.items() if name.startswith("late/") and _is_late(name))
        counts = [landed["rows_delivered"], landed["rows_quarantined"], late]
        applied = [ods[day]["duplicates"], ods[day]["rows_inserted"]]
        print("  {:<19}{:>6}{:>13}{:>6}{:>12}{:>12}".format(landed["source"], *counts, *applied))
    run = next(iter(ods.values()))
    rows = ", ".join(f"{run[f'run/rows_{change}']} {change}" for change in ("inserted", "changed", "removed"))
    outcomes = ("opened", "extended", "joined")
    sessions = ", ".join(f"{run[f'run/sessions_{outcome}']} {outcome}" for outcome in outcomes)
    print(f"  rows: {rows}\n  sessions: {sessions}")


def _is_late(name: str) -> bool:
    return int(name.removeprefix("late/").removesuffix("_days")) > 0


def show_user(table: DataFrame, when: str) -> None:
    """Print the events of one user and product in time order, with the session of each."""
    print(f"\nuser {SHOWN_USER}, product {SHOWN_PRODUCT}, {when}")
    rows = table.where(f"user_id = '{SHOWN_USER}' AND product_code = '{SHOWN_PRODUCT}'").orderBy("timestamp")
    for row in rows.selectExpr("event_id", "string(timestamp) AS at", "session_id", "first_updated_at").collect():
        print(f"  {row.event_id}  {row['at']}  {row.session_id or '-':<23}  arrived {row.first_updated_at}")


def show_totals(ods_sessions: DataFrame, raw_quarantine: DataFrame) -> None:
    """Print the totals of the tables."""
    rows, empty, sessions = ods_sessions.selectExpr(
        "count(*)", "count_if(session_id IS NULL)", "count(DISTINCT session_id)"
    ).collect()[0]
    refused = raw_quarantine.groupBy("reason").count().orderBy("reason").collect()
    print(f"\nods_sessions: {rows} events, {sessions} sessions, {empty} events outside sessions")
    print("raw_quarantine:", ", ".join(f"{row['count']} {row['reason']}" for row in refused))


def show_changes_of_ids(session_changes: DataFrame) -> None:
    """Print what became of session ids."""
    kinds = session_changes.groupBy("kind").count().orderBy("kind").collect()
    print("session_changes:", ", ".join(f"{row['count']} {row['kind']}" for row in kinds))


def main() -> None:
    """Run the demo."""
    settings = Settings()
    log = Path(os.environ["DAGSTER_HOME"]) / "demo.log"
    with quiet(log):
        definitions, resources = build_definitions(settings), build_resources(settings)
        lake: Lake = resources["lake"].open()  # type: ignore[attr-defined]
        if lake.ledger.entries([LAST_DAY]):
            print("the lake already contains the sample days: running them again, which changes nothing")
            show_days(materialize(definitions, FIRST_SAMPLE_DAY, LAST_DAY))
        else:
            show_days(materialize(definitions, FIRST_SAMPLE_DAY, LAST_DAY_BEFORE))
            show_days(materialize(definitions, LAST_DAY_BEFORE + timedelta(days=1), LAST_DAY))
        spark = resources["pyspark"].spark_session  # type: ignore[attr-defined]
        ods_before = read(spark, lake.snapshot(ODS_SESSIONS, VERSION_BEFORE))
        show_user(ods_before, f"after the batches up to {LAST_DAY_BEFORE}")
        ods_sessions = read(spark, lake.snapshot(ODS_SESSIONS))
        show_user(ods_sessions, "after an action of 10:04:30 arrived three days late")
        show_totals(ods_sessions, read(spark, lake.snapshot(RAW_QUARANTINE)))
        show_changes_of_ids(read(spark, lake.snapshot(SESSION_CHANGES)))
    print(f"\ntables: {settings.lake}/   log of Dagster and Spark: {os.path.relpath(log)}")
    print("`make ui` shows both runs in the browser, at http://127.0.0.1:3000")


if __name__ == "__main__":
    main()
