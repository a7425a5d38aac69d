"""The session rule as configuration: the timeout, the user actions, and the columns of a session row.

Must not know how sessions are computed, Delta, paths or Dagster.
Source of the rules: R2, R3 (timeout), R22 (a table records the rule it was built with).
"""

import json
from dataclasses import dataclass
from datetime import timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.events import IDENTITY_COLUMNS

SESSION_TIMEOUT = timedelta(seconds=300)
"""T: two consecutive user actions further apart belong to different sessions (R2, R3)."""

USER_ACTIONS = frozenset({"a", "b", "c"})

# The columns of the table ods_sessions, in its order.
SESSION_COLUMNS = (
    *IDENTITY_COLUMNS,
    "is_user_action",
    "session_id",
    "session_start",
    "first_updated_at",
    "pdate",
)


@dataclass(frozen=True)
class SessionRule:
    """Timeout and user actions: the configuration that decides every session.

    Attributes:
        timeout: T, to the microsecond; positive.
        user_actions: the ids of user actions; None makes every event one.
    """

    timeout: timedelta = SESSION_TIMEOUT
    user_actions: frozenset[str] | None = USER_ACTIONS

    @property
    def microseconds(self) -> int:
        """Return the timeout in microseconds (R6)."""
        return self.timeout // timedelta(microseconds=1)

    def is_user_action(self) -> Column:
        """Return whether the row's `event_id` is one of the user actions."""
        if self.user_actions is None:
            return F.lit(True)
        return F.col("event_id").isin(sorted(self.user_actions))

    def as_properties(self) -> dict[str, str]:
        """Return the rule as the table properties that record what a table was built with (R22)."""
        actions = "*" if self.user_actions is None else json.dumps(sorted(self.user_actions))
        return {
            "sessions.timeoutMicroseconds": str(self.microseconds),
            "sessions.userActions": actions,
        }
