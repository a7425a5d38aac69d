"""The charts of a day: when its sessions began, how long they were, and how late its events were.

Drawn without a display, small, and readable on a light and on a dark page. Must not know where numbers come from.
matplotlib is imported where a chart is drawn: only a run draws one, and the import would take a third of the time in
which the definitions are loaded.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from sessions_assets.lake.sessions import DURATION_CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Grey of middle brightness and two colours that stand out from white and from black alike.
_INK, _SESSIONS, _EVENTS = "#808080", "#3b82f6", "#f59e0b"
_HOURS = range(24)
_SIZE = (7.2, 2.2)


def picture_of_day(day: date, sessions_by_hour: Mapping[int, int], rows_by_days_late: Mapping[int, int]) -> str:
    """Return the chart of one day, as a Markdown image that holds its own bytes.

    Args:
        day: the arrival day, which is also the date of the sessions.
        sessions_by_hour: sessions that began on this date, by hour of the day, UTC.
        rows_by_days_late: accepted rows of the batch by days between event date and arrival; -1: dated one day ahead.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - see the charter

    days_late = range(min(rows_by_days_late, default=0), max(rows_by_days_late, default=0) + 1)
    figure = Figure(figsize=_SIZE, layout="constrained")
    by_hour, by_lateness = figure.subplots(1, 2, width_ratios=(3, 2))
    _bars(by_hour, f"Sessions begun on {day}, by hour (UTC)", _HOURS, sessions_by_hour, _SESSIONS)
    by_hour.set_xticks([*_HOURS[::3]])
    _bars(by_lateness, "Events of the batch, by days late", days_late, rows_by_days_late, _EVENTS)
    by_lateness.set_xticks([*days_late])
    return _as_markdown(figure, day)


def picture_of_durations(day: date, sessions_by_class: Mapping[int, int]) -> str:
    """Return the chart of the durations of sessions, as a Markdown image that holds its own bytes.

    Args:
        day: on which the sessions began.
        sessions_by_class: sessions by index of `DURATION_CLASSES`.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - see the charter

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    positions = range(len(DURATION_CLASSES))
    _bars(axes, f"Sessions begun on {day}, by duration", positions, sessions_by_class, _SESSIONS)
    axes.set_xticks([*positions], DURATION_CLASSES)
    return _as_markdown(figure, day)


def _as_markdown(figure: "Figure", day: date) -> str:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110, transparent=True)
    return f"![{day}](data:image/png;base64,{base64.b64encode(written.getvalue()).decode()})"


def _bars(axes: "Axes", title: str, positions: Sequence[int], heights: Mapping[int, int], colour: str) -> None:
    bars = axes.bar(positions, [heights.get(position, 0) for position in positions], color=colour)
    axes.bar_label(bars, labels=[_label(heights.get(position, 0)) for position in positions], color=_INK, fontsize=7)
    axes.set_title(title, color=_INK, fontsize=9)
    axes.margins(y=0.15)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_INK)


def _label(number: int) -> str:
    from matplotlib.ticker import EngFormatter  # noqa: PLC0415 - see the charter

    if number < 10_000:  # noqa: PLR2004 - five digits are wider than a bar
        return str(number or "")
    return EngFormatter(places=0, sep="")(number)
