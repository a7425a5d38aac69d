"""The alert on the operations page sends the reason of a failed run."""

import json
import re
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import dagster as dg
from pyspark.sql import SparkSession

from sessions_assets_tests.deployment import Deployment
from sessions_assets_tests.pages import Page

OPERATIONS = Page("docs/operations.md")
DAY = date(2025, 3, 15)


class Inbox(BaseHTTPRequestHandler):
    """The server at the address to which the example sends its alert."""

    received: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Store a message."""
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.end_headers()


def test_the_alert_example_sends_the_reason_of_a_failed_run(spark: SparkSession, tmp_path: Path) -> None:
    """The sensor of the page, called for a real failed run, sends one sentence to a real server."""
    (tmp_path / "landing").mkdir()
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    failed = deployment.materialize(DAY)
    with HTTPServer(("127.0.0.1", 0), Inbox) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (program,) = (text for text in OPERATIONS.code("python") if "127.0.0.1:8065" in text)
        example: dict[str, Any] = {}
        exec(program.replace("8065", str(server.server_port)), example)  # noqa: S102 - the page's own text
        context = dg.build_run_status_sensor_context(
            sensor_name="alert_on_failure",
            dagster_instance=deployment.instance,
            dagster_run=failed.dagster_run,
            dagster_event=failed.get_run_failure_event(),
        ).for_run_failure()
        example["alert_on_failure"](context)
        server.shutdown()
    dg.Definitions.validate_loadable(example["defs"])
    (sent,) = Inbox.received
    assert re.fullmatch(r"__ASSET_JOB: no batch of 2025-03-15 in file://.*: expected .*", sent)
