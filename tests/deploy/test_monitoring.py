"""What operators are given speaks of metrics that exist: the dashboard, the alerts, the handbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.api.application import create_application
from app.settings import Settings
from tests.app.tiny_models import write_tiny_models

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
HANDBOOK = (ROOT / "docs" / "operations.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana" / "dashboards" / "latentserve.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

ADDED_BY_PROMETHEUS = {"instance", "job"}
PANELS = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
QUERIES = PANELS | {rule["alert"]: rule["expr"] for rule in RULES}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """What a scrape finds after a picture and a refusal."""
    root = tmp_path_factory.mktemp("models")
    write_tiny_models(root)
    with TestClient(create_application(Settings(models_dir=root))) as client:
        assert client.post("/v1/models/tiny_gan/sample", json={}).status_code == 200
        assert client.post("/v1/models/nowhere/sample", json={}).status_code == 404
        return list(text_string_to_metric_families(client.get("/metrics").text))


@pytest.fixture(scope="module")
def labels(families: list[Metric]) -> dict[str, set[str]]:
    """The labels of each sample's name."""
    known: dict[str, set[str]] = {"up": set()}  # Prometheus' own
    for sample in (sample for family in families for sample in family.samples):
        known.setdefault(sample.name, set()).update(sample.labels)
    return known


def parts(node: object) -> Iterator[Any]:
    """A PromQL expression and all within it."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from parts(inner)
    for inner in getattr(node, "args", ()):
        yield from parts(inner)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_query_asks_for_metrics_and_labels_that_exist(query: str, labels: dict[str, set[str]]) -> None:
    found = list(parts(promql_parser.parse(query.replace("$__rate_interval", "5m"))))
    selectors = [node for node in found if isinstance(node, promql_parser.VectorSelector)]
    assert selectors
    for selector in selectors:
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= labels[selector.name] | ADDED_BY_PROMETHEUS
    held = set[str]().union(*(labels[selector.name] for selector in selectors)) | ADDED_BY_PROMETHEUS
    for grouping in (node for node in found if isinstance(node, promql_parser.AggregateExpr) and node.modifier):
        assert set(grouping.modifier.labels) <= held


def test_queries_by_reason_name_problems_that_exist() -> None:
    with TestClient(create_application(Settings(models_dir=Path("nowhere")))) as client:
        reasons = {reason for rule in RULES for reason in re.findall(r'reason="([\w-]+)"', rule["expr"])}
        assert reasons
        assert all(client.get(f"/problems/{reason}").status_code == 200 for reason in reasons)


def test_handbook_lists_every_metric_with_its_type_and_labels(families: list[Metric]) -> None:
    row = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)
    listed = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)) - {"pid"}) for name, kind, labels in row.findall(HANDBOOK)
    }
    exposed = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in families
        if not family.name.endswith("_created")  # left out in a process of its own
    }
    assert listed == exposed


def test_handbook_says_what_to_do_about_every_alert() -> None:
    assert re.findall(r"^\| `(LatentServe\w+)` \|", HANDBOOK, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_profile_mounts_files_that_exist_and_pins_its_images() -> None:
    services = {name: each for name, each in COMPOSE["services"].items() if each.get("profiles") == ["monitoring"]}
    assert services.keys() == {"prometheus", "grafana"}
    for service in services.values():
        assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"])
        mounted = [volume.split(":")[0] for volume in service["volumes"]]
        assert all((ROOT / path).exists() for path in mounted if path.startswith("."))
        assert {volume for volume in mounted if not volume.startswith(".")} <= COMPOSE["volumes"].keys()
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_grafana_finds_the_data_source_and_the_dashboard() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    asked = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert asked == {source["uid"] for source in sources}
    providers = yaml.safe_load((provisioning / "dashboards" / "latentserve.yml").read_text())["providers"]
    volumes = [volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert ["./deploy/monitoring/grafana/dashboards", providers[0]["options"]["path"]] in volumes
