"""Kubernetes: the schemas know every field, and exit codes go where they belong."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

VERSIONS = ("1.31", "1.34")
"""The first in which all of what is used is stable, and a later one."""
WAYS = ("nightly", "indexed", "dask")
KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")


@cache
def built(way: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / way],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return list(yaml.safe_load_all(done.stdout))


def written(way: str) -> list[dict[str, Any]]:
    """What stands in the files, without kustomize."""
    files = [*KUBERNETES.glob("base/*.yaml"), *KUBERNETES.glob(f"{way}/*.yaml")]
    kept = (path for path in sorted(files) if path.name not in ("kustomization.yaml", "dask.yaml"))
    return [each for path in kept for each in yaml.safe_load_all(path.read_text())]


def pods(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod's spec in a resource."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for below in value.values():
            yield from pods(below)
    elif isinstance(value, list):
        for below in value:
            yield from pods(below)


def job_of(way: str) -> dict[str, Any]:
    """The spec of the way's Job."""
    (spec,) = (
        each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
        for each in written(way)
        if each["kind"] in ("CronJob", "Job")
    )
    found: dict[str, Any] = spec
    return found


@needs_kubectl
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", WAYS)
def test_the_schemas_know_every_field(way: str, version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    for each in built(way):
        if each["kind"] != "DaskCluster":
            schemas.validate(each, version, strict=True)


@needs_kubectl
def test_the_operator_knows_every_field_of_the_dask_cluster() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    found = importlib.util.find_spec("dask_kubernetes")
    if found is None or found.origin is None:
        pytest.skip("needs dask-kubernetes: `make test-kubernetes`")
    chart = Path(found.origin).parent / "operator/deployment/helm/dask-kubernetes-operator"
    resource = yaml.safe_load((chart / "crds" / "daskcluster.yaml").read_text())
    (version,) = resource["spec"]["versions"]
    (cluster,) = (each for each in built("dask") if each["kind"] == "DaskCluster")
    assert cluster["apiVersion"] == f"{resource['spec']['group']}/{version['name']}"
    schema = _closed(version["schema"]["openAPIV3Schema"])
    del cluster["apiVersion"], cluster["kind"], cluster["metadata"]
    jsonschema.validate(cluster, schema)


def _closed(schema: Any) -> Any:
    """The schema, made to refuse fields that it does not know: a server drops them silently."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        closed["additionalProperties"] = False
    return closed


@pytest.mark.parametrize("way", WAYS)
def test_pods_keep_to_the_restricted_standard(way: str) -> None:
    found = [spec for each in written(way) for spec in pods(each)]
    assert found
    for spec in found:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            for mount in container.get("volumeMounts", ()):
                assert mount.get("readOnly", False) or mount["name"] in ("out", "state", "scratch")


@pytest.mark.parametrize("way", WAYS)
def test_images_are_plain_names(way: str) -> None:
    for each in written(way):
        for spec in pods(each):
            for container in [*spec["containers"], *spec.get("initContainers", ())]:
                assert container["image"] == "wsiproc:cpu"


def action_of(way: str, code: int) -> str:
    """What the way's policy does with an exit code."""
    for rule in job_of(way)["podFailurePolicy"]["rules"]:
        if code in rule.get("onExitCodes", {}).get("values", ()):
            return str(rule["action"])
    return "Count"


@pytest.mark.parametrize(
    ("way", "codes", "action"),
    [
        ("nightly", (2, 10, 65, 66, 69, 73), "FailJob"),
        ("nightly", (75, 137, 139), "Count"),
        ("indexed", (66,), "FailJob"),
        ("indexed", (2, 10, 65), "FailIndex"),
        ("indexed", (69, 73, 75, 124, 137), "Count"),
        ("dask", (2, 10, 65, 66, 69, 73), "FailJob"),
        ("dask", (75, 137), "Count"),
    ],
)
def test_exit_codes_go_where_they_belong(way: str, codes: tuple[int, ...], action: str) -> None:
    assert {action_of(way, code) for code in codes} == {action}


@pytest.mark.parametrize("way", WAYS)
def test_a_drained_node_is_nobodys_failure(way: str) -> None:
    first = job_of(way)["podFailurePolicy"]["rules"][0]
    assert first == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }


def test_two_nights_never_run_at_once_and_a_missed_one_is_made_up_for() -> None:
    (cron,) = (each["spec"] for each in written("nightly") if each["kind"] == "CronJob")
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["startingDeadlineSeconds"] >= 3600


def test_nothing_may_be_called_but_the_clusters_own_pods() -> None:
    policies = [each["spec"] for each in written("dask") if each["kind"] == "NetworkPolicy"]
    everything = [spec for spec in policies if spec["podSelector"] == {}]
    assert everything == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]
    (cluster,) = (spec for spec in policies if spec["podSelector"] != {})
    own = {"podSelector": {"matchLabels": {"dask.org/cluster-name": "wsiproc"}}}
    assert cluster["ingress"] == [{"from": [own]}]
    assert [rule["to"] for rule in cluster["egress"][:1]] == [[own]]
    assert all(rule["ports"] for rule in cluster["egress"][1:])


def test_dask_in_pods_has_the_settings_of_dask_on_hosts() -> None:
    hosts = yaml.safe_load((KUBERNETES.parent / "dask" / "dask.yaml").read_text())
    in_pods = (KUBERNETES / "dask" / "dask.yaml").read_text()
    assert yaml.safe_load(in_pods.replace("/certificates", "CERTIFICATES")) == hosts


@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_index_does_its_share_and_no_slide_is_left(index: int, tmp_path: Path) -> None:
    (container,) = (spec["containers"][0] for each in written("indexed") for spec in pods(each))
    (script,) = container["args"]
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$1" "$3"; cat "$2"\n')
    program.chmod(0o755)
    slides = ["/slides/a.svs", "/slides/b c.svs", '/slides/d"e.svs', "/slides/f.svs"]
    (tmp_path / "list").write_text("# tonight\n\n" + "\n".join(slides))
    settings = {"SHARES": "3", "JOB_COMPLETION_INDEX": str(index), "LIST": str(tmp_path / "list")}
    here = script.replace("/tmp/share.csv", str(tmp_path / "share.csv"))
    done = subprocess.run(
        [*container["command"], here.replace("/opt/wsiproc/bin/wsiproc-container", str(program))],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, listed = done.stdout.partition("\n")
    assert said == "batch --model"
    assert [row["slide"] for row in csv.DictReader(io.StringIO(listed))] == slides[index::3]
