"""The files of the whole stack keep what they promise: pinned, limited, healthy, without a secret."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessions_assets_tests.composed import COMPOSE, DOCKER, HOME, PROJECT, example_environment, read_compose

SERVICES: dict[str, Any] = read_compose(example_environment())["services"]
ONCE = {"bucket", "instance"}
DOCKERFILES = sorted(DOCKER.glob("*Dockerfile"))


def test_every_version_is_pinned() -> None:
    """Of images and of what they are built from."""
    images = {service["image"] for service in SERVICES.values()}
    images |= {
        found for file in DOCKERFILES for found in re.findall(r"^FROM (\S+:\S+)", file.read_text(), re.MULTILINE)
    }
    assert {image for image in images if not re.search(r":\S*\d+\.?\d*", image) or ":latest" in image} == set()
    assert images >= {"postgres:15.15-bookworm", "sessions_assets:0.1.0"}


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_packages_of_the_system_have_no_version(file: Path) -> None:
    """The release of the base image decides, so that security updates come in; why is said beside the linter's rule."""
    content = file.read_text()
    installed = re.findall(r"apt-get install ([^\\&]*)", content)
    assert [words for words in installed if "=" in words] == []
    reasons = re.findall(r"^# (.*)\n# hadolint ignore=DL3008\n", content, re.MULTILINE)
    assert len(reasons) == len(installed) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_limited_restarted_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] == ("on-failure" if name in ONCE else "unless-stopped")
    assert name in ONCE | {"spark-worker"} or service["healthcheck"]["test"][0] == "CMD"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    conditions = {other: wait["condition"] for other, wait in service.get("depends_on", {}).items()}
    assert all(
        condition == ("service_completed_successfully" if other in ONCE else "service_healthy")
        for other, condition in conditions.items()
    )


def test_no_secret_has_a_value() -> None:
    """Passwords come from .env, which git ignores; without them compose refuses to start."""
    with pytest.raises(KeyError, match="MINIO_ROOT_USER"):
        read_compose({})
    secrets = {name for name in example_environment() if "PASSWORD" in name}
    assert secrets == {"MINIO_ROOT_PASSWORD", "POSTGRES_PASSWORD"}
    for file in (COMPOSE, *DOCKER.iterdir()):
        assert "change-me" not in file.read_text()
    assert "/.env\n" in (PROJECT / ".gitignore").read_text()


def test_the_example_names_every_variable_and_its_default() -> None:
    named = dict(re.findall(r"\$\{(\w+):[-?]([^}]*)\}", COMPOSE.read_text()))
    example = example_environment()
    assert named.keys() == example.keys()
    assert {name: value for name, value in example.items() if named[name] != "see .env.example"} == {
        name: value for name, value in named.items() if value != "see .env.example"
    }


def test_images_run_as_users_without_rights() -> None:
    for file in DOCKERFILES:
        assert re.findall(r"^USER (\S+)$", file.read_text(), re.MULTILINE) == ["10001"]


def test_the_folders_of_the_stack_are_those_of_the_image() -> None:
    image = (DOCKER / "Dockerfile").read_text()
    assert f"WORKDIR {HOME}\n" in image
    for folder in ("dagster_home", "compute_logs"):
        assert f"{HOME}/{folder}" in SERVICES["code"]["environment"].values()
        assert f"{HOME}/{folder}" in image


def test_the_instance_of_the_stack_is_one_that_dagster_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres, queue, monitoring, retries, retention: read as the daemon reads it; nothing is connected to."""
    from dagster._core.instance.config import dagster_instance_config  # noqa: PLC0415
    from dagster._core.instance.ref import InstanceRef  # noqa: PLC0415

    for name, value in SERVICES["code"]["environment"].items():
        monkeypatch.setenv(name, str(value))
    settings, custom = dagster_instance_config(str(DOCKER), "dagster.yaml")
    assert custom is None
    assert settings == yaml.safe_load((DOCKER / "dagster.yaml").read_text())
    ref = InstanceRef.from_dir(str(DOCKER))
    assert ref.run_launcher is not None
    assert type(ref.run_launcher).__module__ == "sessions_assets.deploy.run_launcher"
