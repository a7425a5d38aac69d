"""What a stored row must agree with: the row before it, the action before it, its own key, and its own start time.

Columns over the rows of a key. Written from the rules a second time: it must not import `sessions` or `changes`, whose
errors it has to show. Must not know Delta, paths, Dagster, or which disagreement is which violation.
Source of the rules: R1 (identity), R3, R4, R6 (distance in microseconds), R5 (order), R8 (blank values), R9 (id), R24.
"""

from collections.abc import Callable
from datetime import timedelta

from pyspark.sql import Column, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.window import WindowSpec

from sessions_assets.rule.events import KEY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule

# Of the escapes and the start of an id that is written as R9 says.
_WRONG_ESCAPE = "%(?!2[35])"
_START = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.(?!0{6})\d{6})?$"


def neighbour_columns() -> dict[str, Column]:
    """Return what a row has to agree with: its repeats, the stored action before it, the latest stored start.

    The rows have the four event columns, `is_user_action`, `is_stored`, `arrival`, `carried` (the result of
    `carried_texts`) and `stored_session_start`.
    """
    order = _ordered()
    before = order.rowsBetween(Window.unboundedPreceding, -1)
    until_now = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    is_action = F.col("is_stored") & F.col("is_user_action")
    action = F.struct("timestamp", F.col("stored_session_start").alias("session"))
    is_start = is_action & (F.col("stored_session_start") == F.col("timestamp"))
    is_delivered_next = _repeats(F.lead) & ~F.lead("is_stored").over(order)
    return {
        "repeats_previous": _repeats(F.lag),
        "repeats_a_stored_one": _repeats(F.lag) & F.lag("is_stored").over(order),
        "is_repeated": _repeats(F.lead) & F.lead("is_stored").over(order),
        "next_arrival": F.when(is_delivered_next, F.lead("arrival").over(order)),
        "next_carried": F.when(is_delivered_next, F.lead("carried").over(order)),
        "action": F.last(F.when(is_action, action), ignorenulls=True).over(before),
        "own_start": F.last(F.when(is_start, F.col("timestamp")), ignorenulls=True).over(until_now),
    }


def _ordered() -> WindowSpec:
    """Return the order of a key: time, at one instant the action first, then the event id (R5)."""
    # In the same words as in `sessions`, so that both share one shuffle and one sort.
    of_one_event = (F.desc("is_stored"), F.asc_nulls_last("arrival"), "carried")
    return Window.partitionBy(*KEY_COLUMNS).orderBy("timestamp", F.desc("is_user_action"), "event_id", *of_one_event)


def _repeats(neighbour: Callable[[str], Column]) -> Column:
    """Return whether the row before (`F.lag`) or after (`F.lead`) holds the same four values (R1)."""
    same = [F.col(column).eqNullSafe(neighbour(column).over(_ordered())) for column in ("event_id", "timestamp")]
    return same[0] & same[1]


def carried_texts(rule: SessionRule) -> Column:
    """Return the carried attributes as texts in whose order a missing one is the last (R24); NULL if none are given."""
    values = [F.get("carried", F.lit(position))["value"] for position in range(len(rule.carried))]
    texts = [F.coalesce(F.concat(F.lit("0"), value), F.lit("1")) for value in values]
    return F.when(F.col("carried").isNotNull(), F.array(*texts)) if texts else F.lit(None).cast("array<string>")


def timeout_of(rule: SessionRule) -> Column:
    """Return the timeout of the row's product in microseconds (R27)."""
    found = F.lit(rule.timeout // timedelta(microseconds=1))
    for product, timeout in rule.timeouts.items():
        found = F.when(F.col("product_code") == product, timeout // timedelta(microseconds=1)).otherwise(found)
    return found


def is_within(timeout: Column, earlier: str, later: str) -> Column:
    """Return whether a time is at most one timeout, in microseconds, after another (R3, R6)."""
    return F.unix_micros(earlier) + timeout >= F.unix_micros(later)


def lacks_text(column: str) -> Column:
    """Return whether a text is missing or has no character that is not white space (R8)."""
    return ~F.coalesce(F.col(column).rlike(r"\P{IsWhite_Space}"), F.lit(False))


def has_other_id(session_start: str) -> Column:
    """Return whether `session_id` is not that of the row's key and of this start (R9).

    The id is taken apart and decoded, where the rule puts it together and encodes it.
    """
    parts = F.split("session_id", "#")
    user, product, start = (F.get(parts, F.lit(position)) for position in range(3))
    is_right = (
        (F.size(parts) == F.lit(3))
        & ~F.col("session_id").rlike(_WRONG_ESCAPE)
        & (_decoded(user) == F.col("user_id"))
        & (_decoded(product) == F.col("product_code"))
        & start.rlike(_START)
        & (start.try_cast("timestamp") == F.col(session_start))
    )
    in_no_session = F.col(session_start).isNull()
    return F.when(in_no_session, F.col("session_id").isNotNull()).otherwise(~F.coalesce(is_right, F.lit(False)))


def _decoded(part: Column) -> Column:
    number_signs = F.replace(part, F.lit("%23"), F.lit("#"))
    return F.replace(number_signs, F.lit("%25"), F.lit("%"))
