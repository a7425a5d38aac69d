"""What an operator does and sees in a running deployment, by GraphQL as the UI asks it. Nothing of it is mocked."""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any, NamedTuple, TypeVar

import requests

LOCATION = "sessions_assets"
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
# Generous: a machine of CI may be several times slower, and what does not come at all is the exception.
PATIENCE = 300

_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}

Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    """Look until there is something; say what did not come in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds} s")


class Run(NamedTuple):
    """A run as the UI knows it: days as `A...B`, or one day; start and end of each step in seconds since 1970."""

    id: str
    status: str
    days: str
    assets: tuple[str, ...]
    steps: dict[str, tuple[float, float]]


class Operator:
    """A user of the UI.

    Args:
        address: of the web server.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def serves_the_assets(self) -> bool | None:
        """Return whether the web server has the code location; None: not yet."""
        try:
            found = self.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
        except requests.ConnectionError:
            return None
        return True if found else None

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Ask by GraphQL; an error is raised."""
        message = {"query": query, "variables": variables}
        content = requests.post(f"{self.address}/graphql", json=message, timeout=60).json()
        # The web server keeps one connection of each kind to Postgres, and notices by using it that it is gone.
        if query.startswith("query") and "server closed the connection" in str(content.get("errors", "")):
            content = requests.post(f"{self.address}/graphql", json=message, timeout=60).json()
        assert "errors" not in content, content["errors"]
        data: dict[str, Any] = content["data"]
        return data

    # --- What an operator does

    def turn(self, sensor: str, *, on: bool) -> None:
        """Turn a sensor on or off."""
        selector = {**_REPOSITORY, "sensorName": sensor}
        if on:
            started = "startSensor(sensorSelector: $s) { ... on Sensor { sensorState { status id } } }"
            state = self.ask(f"mutation($s: SensorSelector!) {{ {started} }}", s=selector)["startSensor"]
            assert state["sensorState"]["status"] == "RUNNING"
            return
        found = self.ask(
            "query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState { id } } } }",
            s=selector,
        )["sensorOrError"]["sensorState"]
        self.ask("mutation($id: String!) { stopSensor(id: $id) { __typename } }", id=found["id"])

    def backfill(self, assets: Collection[str], days: Collection[date]) -> str:
        """Start a backfill of days; give its id."""
        wanted = {"assetSelection": [{"path": [name]} for name in assets], "partitionNames": [str(day) for day in days]}
        launched = "launchPartitionBackfill(backfillParams: $p) { ... on LaunchBackfillSuccess { backfillId } }"
        answer = self.ask(f"mutation($p: LaunchBackfillParams!) {{ {launched} }}", p=wanted)
        return str(answer["launchPartitionBackfill"]["backfillId"])

    def continue_backfill(self, backfill: str) -> str:
        """Start what failed in a backfill again; give the id of the new one."""
        parameters = {"parentRunId": backfill, "strategy": "FROM_FAILURE"}
        answer = self.ask(
            "mutation($p: ReexecutionParams) { reexecutePartitionBackfill(reexecutionParams: $p) "
            "{ __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
            p=parameters,
        )["reexecutePartitionBackfill"]
        return str(answer["backfillId"])

    def launch(
        self,
        job: str,
        *,
        assets: Collection[str] = (),
        checks: Mapping[str, Collection[str]] | None = None,
        day: date | None = None,
        span: tuple[date, date] | None = None,
    ) -> str:
        """Start a job, assets or checks alone, of a day or a span of days in one run; give the id of the run."""
        of_checks = [
            {"assetKey": {"path": [asset]}, "name": name} for asset, names in (checks or {}).items() for name in names
        ]
        selector = {**_REPOSITORY, "pipelineName": job}
        if assets or checks:
            selector["assetSelection"] = [{"path": [asset]} for asset in assets]
        if checks:
            selector["assetCheckSelection"] = of_checks
        tags = [{"key": "dagster/partition", "value": str(day)}] if day else []
        if span:
            ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
            tags = [{"key": end, "value": str(arrival)} for end, arrival in zip(ends, span, strict=True)]
        answer = self.ask(
            "mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) "
            "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
            p={"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": {"tags": tags}},
        )["launchPipelineExecution"]
        return str(answer["run"]["runId"])

    # --- What an operator sees

    def runs(self, backfill: str | None = None) -> list[Run]:
        """Return the runs, or those of a backfill, oldest first."""
        tags = [{"key": "dagster/backfill", "value": backfill}] if backfill else []
        answer = self.ask(
            "query($f: RunsFilter) { runsOrError(filter: $f) { ... on Runs { results { runId status tags { key value } "
            "assetSelection { path } stepStats { stepKey startTime endTime } } } } }",
            f={"tags": tags},
        )
        return [_as_run(found) for found in reversed(answer["runsOrError"]["results"])]

    def ended_run(self, run: str, seconds: float = PATIENCE) -> Run:
        """Wait for the end of a run."""

        def look() -> Run | None:
            return next((found for found in self.runs() if found.id == run and found.status in ENDED), None)

        return wait_for(f"end of run {run}", look, seconds)

    def ended_backfill(self, backfill: str, seconds: float = 2 * PATIENCE) -> str:
        """Wait for the end of a backfill; give its status."""

        def look() -> str | None:
            answer = self.ask(
                "query($id: String!) { partitionBackfillOrError(backfillId: $id) "
                "{ ... on PartitionBackfill { status } } }",
                id=backfill,
            )
            status = str(answer["partitionBackfillOrError"]["status"])
            return status if status.startswith("COMPLETED") or status == "FAILED" else None

        return wait_for(f"end of backfill {backfill}", look, seconds)

    def said(self, run: str) -> list[str]:
        """Return the lines of the log of a run."""
        answer = self.ask(
            "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { "
            "... on LogMessageEvent { message level } } } } }",
            id=run,
        )
        return [event["message"] for event in answer["logsForRun"]["events"] if event]

    def compute_log(self, run: str) -> str:
        """Return what the process of a run and its JVM wrote to standard error."""
        answer = self.ask(
            "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { "
            "... on LogsCapturedEvent { fileKey } } } } }",
            id=run,
        )
        keys = [event["fileKey"] for event in answer["logsForRun"]["events"] if event]
        answers = [
            self.ask("query($k: [String!]!) { capturedLogs(logKey: $k) { stderr } }", k=[run, "compute_logs", key])[
                "capturedLogs"
            ]["stderr"]
            for key in keys
        ]
        return "\n".join(text or "" for text in answers)

    def days_by_state(self, asset: str, check: str | None = None) -> dict[str, list[tuple[str, str]]]:
        """Return the spans of days in each state, of an asset or of one of its checks: what the UI colours."""
        answer = self.ask(
            "query($k: [AssetKeyInput!]) { assetNodes(assetKeys: $k) { "
            "assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } } "
            "assetChecksOrError { ... on AssetChecks { checks { name partitionStatuses { "
            "... on AssetCheckTimePartitionStatuses { ranges { status startKey endKey } } } } } } } }",
            k=[{"path": [asset]}],
        )
        (node,) = answer["assetNodes"]
        found = node["assetPartitionStatuses"]
        if check:
            found = next(c for c in node["assetChecksOrError"]["checks"] if c["name"] == check)["partitionStatuses"]
        states: dict[str, list[tuple[str, str]]] = {}
        for span in found["ranges"]:
            states.setdefault(span["status"], []).append((span["startKey"], span["endKey"]))
        return states


def _as_run(found: dict[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    ends = (tags.get("dagster/asset_partition_range_start"), tags.get("dagster/asset_partition_range_end"))
    days = tags.get("dagster/partition") or (f"{ends[0]}...{ends[1]}" if ends[0] else "")
    assets = tuple(sorted(key["path"][-1] for key in found["assetSelection"] or []))
    steps = {step["stepKey"]: (step["startTime"], step["endTime"]) for step in found["stepStats"]}
    return Run(found["runId"], found["status"], days, assets, steps)
