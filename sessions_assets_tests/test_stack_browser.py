"""The UI as a person sees it, in a real Chromium: the graph, a materialization by hand, its checks, plots and picture.

The pictures of `docs/operations.md` come from here: `make test-stack SCREENSHOTS=sessions_assets_tests/screenshots`.
"""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path

import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from playwright.sync_api import Page, expect, sync_playwright

from sessions_assets.rule.summary_violations import SUMMARY_VIOLATIONS
from sessions_assets.rule.violations import VIOLATIONS
from sessions_assets_tests.deployment import FIRST, LAST
from sessions_assets_tests.operators import wait_for
from sessions_assets_tests.reference import Event
from sessions_assets_tests.sample_batches import Row as Delivered
from sessions_assets_tests.sample_batches import deliveries, instant
from sessions_assets_tests.stack import Stack
from sessions_assets_tests.tables import write_batches

pytestmark = pytest.mark.stack

LARGEST = 200_000
MARKUP = "<img src=x onerror=alert(1)>"


@cache
def today() -> date:
    """Name the day of the first question: other tests may have begun before midnight."""
    return datetime.now(UTC).date()


def moved(day: date) -> date:
    """Move a day of the sample, so that its last batch is that of today: the UI shows the newest days first."""
    return day + (today() - LAST)


class Screen:
    """A page, and the folder of its pictures."""

    def __init__(self, page: Page, address: str, folder: Path) -> None:
        self.page, self.address, self.folder = page, address, folder

    def open(self, path: str) -> None:
        """Go to a page."""
        self.page.goto(f"{self.address}{path}")

    def click(self, text: str) -> None:
        """Click what shows just this text; of several the last."""
        self.page.get_by_text(text, exact=True).locator("visible=true").last.click()

    def sees(self, text: str) -> None:
        """Wait until just this text is shown."""
        expect(self.page.get_by_text(text, exact=True).first).to_be_visible()

    def shoot(self, name: str) -> None:
        """Take a picture once nothing moves any more."""
        self.page.wait_for_load_state("networkidle")
        path = self.folder / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size < LARGEST


def moved_batches() -> dict[date, list[Event]]:
    """Return the events of the sample moved to the last two weeks, without those that are planted to be refused."""
    batches: dict[date, list[Event]] = {}
    for arrival, lines in deliveries().items():
        rows = [line for line in lines if isinstance(line, Delivered) and re.fullmatch(r"\d{4}-.*:.*", line.timestamp)]
        batches[moved(arrival)] = [
            Event(*row[:3], instant(row.timestamp).replace(tzinfo=None) + (today() - LAST)) for row in rows
        ]
    batches[today()].append(Event(MARKUP, "x", "I", datetime.combine(today(), time())))
    return batches


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that has applied all days but today's, in one run; today's batch is in the landing."""
    folder = tmp_path_factory.mktemp("browser")
    with Stack(folder, SESSIONS_FIRST_DAY=f"{moved(FIRST)}").running() as running:
        write_batches(running.landing, moved_batches())
        before = (moved(FIRST), today() - timedelta(days=1))
        run = running.launch("__ASSET_JOB", assets=["raw_events", "ods_sessions", "sessions"], span=before)
        assert running.ended_run(run).status == "SUCCESS"
        yield running


@pytest.fixture(scope="module")
def screen(stack: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    """A real browser."""
    folder = request.config.getoption("--screenshots") or tmp_path_factory.mktemp("screenshots")
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that a container, and root, do not have.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 820}, color_scheme="light")
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield Screen(page, stack.address, folder)
        browser.close()


def test_a_day_is_materialized_by_hand_in_the_graph(screen: Screen, stack: Stack) -> None:
    """All assets of today, through the dialog, in one run; its page then says that it has succeeded."""
    known = {run.id for run in stack.runs()}
    screen.open("/asset-groups")
    for asset in ("raw_events", "ods_sessions", "sessions"):
        screen.sees(asset)
    screen.page.get_by_role("button", name="Materialize all").click()
    days = screen.page.get_by_role("dialog").get_by_role("textbox").first
    days.fill(f"{today()}")
    days.press("Enter")
    screen.page.get_by_role("button", name="Launch 1 run").click()
    (run,) = wait_for("the run", lambda: {run.id for run in stack.runs()} - known or None)
    assert stack.ended_run(run).status == "SUCCESS"
    screen.open("/runs")
    screen.page.get_by_role("link", name=f"run {run[:8]}").click()
    screen.sees("Success")
    screen.sees("checks_of_ods_sessions")
    screen.open("/asset-groups")
    screen.sees("100% filled")
    screen.shoot("graph")


def test_the_checks_of_that_day_are_green(screen: Screen) -> None:
    """Each check is listed, and its page of partitions shows every day as passed."""
    screen.open("/assets/ods_sessions?view=checks&checkDetail=recompute_agrees")
    for check in [*VIOLATIONS, "window_complete", "late_share", "settled_unchanged"]:
        screen.sees(check)
    screen.click("Partitions")
    screen.sees("Passed (14)")
    screen.click(f"{today()}")
    screen.sees("rows_judged")
    screen.shoot("checks")


def test_numbers_are_plotted_and_the_picture_of_the_day_is_shown(screen: Screen) -> None:
    screen.open("/assets/ods_sessions")
    screen.click("Plots")
    screen.sees("sessions_begun")
    expect(screen.page.locator("canvas").first).to_be_visible()
    screen.page.get_by_text("Metadata", exact=True).evaluate("heading => heading.scrollIntoView()")
    screen.shoot("plots")
    shows_picture(screen, "ods_sessions")
    screen.shoot("picture")


def shows_picture(screen: Screen, asset: str) -> None:
    """Open the partition of today, and its picture."""
    screen.open(f"/assets/{asset}?view=partitions&partition={today()}")
    screen.click("[Show Markdown]")
    picture = screen.page.locator("img[src^='data:image/png']")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 700


def test_the_durations_of_the_sessions_of_the_day_are_shown(screen: Screen) -> None:
    """With the checks of sessions green on every day."""
    screen.open("/assets/sessions?view=checks&checkDetail=summary_equals_events")
    for check in [*SUMMARY_VIOLATIONS, "plausible_durations"]:
        screen.sees(check)
    screen.click("Partitions")
    screen.sees("Passed (14)")
    shows_picture(screen, "sessions")
    screen.shoot("sessions")


def test_ids_that_are_markup_are_shown_as_text(screen: Screen, stack: Stack) -> None:
    """In the table of offending rows of a check that fails."""
    table = DeltaTable(str(stack.lake / "ods_sessions"))
    one = f"SELECT * FROM found WHERE user_id = '{MARKUP}'"  # noqa: S608 - our own words
    write_deltalake(table, QueryBuilder().register("found", table).execute(one).read_all(), mode="append")
    stack.ended_run(stack.launch("__ASSET_JOB", checks={"ods_sessions": ["one_row_per_event"]}, day=today()))
    opened: list[str] = []
    screen.page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
    screen.open("/assets/ods_sessions?view=checks&checkDetail=one_row_per_event")
    # Of the asset, then of the check.
    expect(screen.page.get_by_text("Partitions", exact=True).nth(1)).to_be_visible()
    screen.click("Partitions")
    screen.click(f"{today()}")
    screen.sees(MARKUP)
    assert opened == []
