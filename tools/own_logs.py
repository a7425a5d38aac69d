"""Write the two logs of docs/your-own-log.md: a web shop's export and the log of an IDE, the same each time.

They are made as other programs write them: with names, times and columns of their own, late and repeated rows, and, in
the IDE's log, the night in which clocks are set back.
"""

import csv
import json
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

SHOP_DAYS = [date(2025, 3, day) for day in (10, 11, 12)]
IDE_DAYS = [date(2025, 10, day) for day in (25, 26, 27)]
_CATEGORIES = ("electronics.smartphone", "electronics.audio.headphone", "apparel.shoes", "")
_FILES = ("main.py", "src/app.py", "tests/test_app.py", "README.md")
_LATE_SHARE, _TWICE_SHARE = 0.1, 0.05
_BERLIN = ZoneInfo("Europe/Berlin")


def write_logs(folder: Path) -> None:
    """Write the batches of both logs into `shop/` and `ide/` below a folder."""
    logs = (("shop", SHOP_DAYS, _shop_rows, _write_shop), ("ide", IDE_DAYS, _ide_rows, _write_ide))
    for name, days, rows_of, write in logs:
        (folder / name).mkdir(parents=True, exist_ok=True)
        rng = Random(name)  # noqa: S311 - repeatable, not secret
        late: list[dict[str, Any]] = []
        for day in days:
            rows = rows_of(rng, day)
            held_back = [row for row in rows if rng.random() < _LATE_SHARE and day != days[-1]]
            now = [row for row in rows if row not in held_back] + late
            write(folder / name, day, now + [row for row in now if rng.random() < _TWICE_SHARE])
            late = held_back


def _shop_rows(rng: Random, day: date) -> list[dict[str, Any]]:
    rows = []
    for visit in range(12):
        at = datetime.combine(day, time(rng.randint(6, 21)), UTC) + timedelta(seconds=rng.randrange(3600))
        user = f"u{rng.randint(1, 8)}"
        for kind in ("view", "view", "scroll", "view", "cart", "purchase")[: rng.randint(1, 6)]:
            rows.append(
                {
                    "event_time": int(at.timestamp() * 1000) + rng.randrange(1000),
                    "event_type": kind,
                    "category_code": rng.choice(_CATEGORIES),
                    "price": f"{rng.randrange(500, 90000) / 100:.2f}",
                    "user_id": user,
                    "user_session": f"{day:%m%d}-{visit:02}",
                }
            )
            at += timedelta(seconds=rng.choice((20, 90, 600, 1500, 2400)))
    return rows


def _write_shop(folder: Path, day: date, rows: list[dict[str, Any]]) -> None:
    with (folder / f"{day}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def _ide_rows(rng: Random, day: date) -> list[dict[str, Any]]:
    rows = []
    for hour in (2, 1, 9, 9, 14, 14, 20, 20):
        at = datetime.combine(day, time(hour), _BERLIN) + timedelta(seconds=rng.randrange(3600))
        at, machine, ide = at.astimezone(UTC), f"dev-{rng.randint(1, 4)}", rng.choice(("PyCharm", "DataGrip"))
        for _ in range(rng.randint(2, 7)):
            kind = rng.choice(("edit", "edit", "run", "debug", "indexing"))
            rows.append(
                {
                    "machine": machine,
                    "action": kind,
                    "ide": ide,
                    "local_time": at.astimezone(_BERLIN)
                    .replace(tzinfo=None)
                    .isoformat(sep=" ", timespec="milliseconds"),
                    "payload": {"file": rng.choice(_FILES), "line": rng.randint(1, 400)},
                }
            )
            at += timedelta(seconds=rng.choice((15, 120, 400, 1000)))
    return rows


def _write_ide(folder: Path, day: date, rows: list[dict[str, Any]]) -> None:
    (folder / f"{day}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    write_logs(Path(sys.argv[1] if len(sys.argv) > 1 else "own-logs"))
