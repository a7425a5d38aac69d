"""User actions of a day: how many of its events are one, and which event ids miss it by white space alone.

Ids are compared exactly (R7): this only tells of those that nobody would have written on purpose. Must not know
Dagster, Spark, or how a session is computed.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date

from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import count_days
from sessions_assets.rule.events import WHITE_SPACE
from sessions_assets.rule.session_rule import SessionRule

# Neither is the id of an event: that is not blank.
_ACTION, _OTHER = "", " "


@dataclass
class DayActions:
    """What the accepted events of a day are.

    Attributes:
        rows: all of them.
        actions: those that are user actions.
        padded: rows by event id, of ids that are those of user actions but for white space at their edges.
    """

    rows: int = 0
    actions: int = 0
    padded: dict[str, int] = field(default_factory=dict)


def count_actions(raw_events: Snapshot | None, days: Collection[date], rule: SessionRule) -> dict[date, DayActions]:
    """Count the user actions of days, in one scan of their event ids, without Spark."""
    found = {day: DayActions() for day in days}
    for day, kind, rows in count_days(raw_events, days, _kind(rule.user_actions)):
        found[day].rows += rows
        if kind == _ACTION:
            found[day].actions += rows
        elif kind != _OTHER:
            found[day].padded[str(kind)] = rows
    return found


def _kind(user_actions: Collection[str] | None) -> str:
    if user_actions is None:
        return _literal(_ACTION)
    actions = ", ".join(map(_literal, sorted(user_actions)))
    return (
        f"CASE WHEN event_id IN ({actions}) THEN {_literal(_ACTION)} "
        f"WHEN btrim(event_id, {_literal(WHITE_SPACE)}) IN ({actions}) THEN event_id ELSE {_literal(_OTHER)} END"
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
