"""Dagster's daemon, which looks after backfills every two seconds in place of thirty; no setting of Dagster says so.

Usage: python -m sessions_assets_tests.quick_daemon ARGUMENTS, those of `dagster-daemon`.
"""

from dagster._daemon import controller
from dagster._daemon.cli import main

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
    main()
