# SPDX-License-Identifier: Apache-2.0
"""What deploy/ names is there, and fits what the agent looks for."""

import re
from pathlib import Path
from typing import Any

import yaml

from damos_agent.agent.digest import POLICIES, SETTINGS
from damos_agent.config.compile import compile_files
from damos_agent.host.roots import Roots

BASE = Path(__file__).parents[1] / "deploy/kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
POD: dict[str, Any] = yaml.safe_load((BASE / "daemonset.yaml").read_text())["spec"]["template"][
    "spec"
]
CONTAINER: dict[str, Any] = POD["containers"][0]
MOUNTS: dict[str, str] = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
VOLUMES: dict[str, dict[str, Any]] = {volume["name"]: volume for volume in POD["volumes"]}


def test_the_kustomization_names_every_file() -> None:
    generated = [name for one in KUSTOMIZATION["configMapGenerator"] for name in one["files"]]

    named = {*KUSTOMIZATION["resources"], *generated, "kustomization.yaml"}

    assert named == {path.name for path in BASE.iterdir()}


def test_policies_and_settings_have_no_findings() -> None:
    compiled = compile_files((str(BASE / "working-set.yaml"), str(BASE / "agent.yaml")))

    assert [file.findings for file in compiled.files if file.findings] == []
    assert compiled.findings == ()
    assert compiled.settings is not None


def test_every_mount_has_its_volume() -> None:
    assert set(MOUNTS.values()) == set(VOLUMES)


def test_config_maps_are_mounted_where_the_agent_looks() -> None:
    found = {path: VOLUMES[name].get("configMap", {}).get("name") for path, name in MOUNTS.items()}

    assert found[f"/etc/{Path(SETTINGS).parent}"] == "damos-agent"
    assert found[f"/usr/local/lib/{POLICIES}"] == "damos-policies"
    generated = {one["name"] for one in KUSTOMIZATION["configMapGenerator"]}
    assert generated == {"damos-agent", "damos-policies"}


def test_the_pod_sees_the_hosts_damon_processes_and_cgroups() -> None:
    hosts = {path: VOLUMES[name].get("hostPath", {}).get("path") for path, name in MOUNTS.items()}
    roots = Roots()

    assert POD["hostPID"] is True
    assert hosts[f"{roots.sysfs}/kernel/mm/damon"] == f"{roots.sysfs}/kernel/mm/damon"
    assert hosts[roots.cgroup] == roots.cgroup
    assert hosts[roots.run] == roots.run


def test_the_pod_has_the_capabilities_of_the_unit() -> None:
    unit = (BASE.parents[1] / "systemd/damos-agent.service").read_text()
    bounding = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    context = CONTAINER["securityContext"]

    assert bounding is not None
    assert context["capabilities"]["drop"] == ["ALL"]
    assert {f"CAP_{name}" for name in context["capabilities"]["add"]} == set(bounding[1].split())
    assert "privileged" not in context


def test_without_damon_the_pod_has_what_the_monitor_needs_and_no_damon() -> None:
    """The overlay patches what is there, and gives what the unit's drop-in gives."""
    overlay = BASE.with_name("kubernetes-without-damon")
    patch = yaml.safe_load((overlay / "monitor.yaml").read_text())
    pod = patch["spec"]["template"]["spec"]
    drop_in = BASE.parents[1] / "systemd/damos-agent.service.d/20-userspace-monitor.conf.example"
    granted = re.search(r"^CapabilityBoundingSet=(.*)$", drop_in.read_text(), re.MULTILINE)
    assert granted
    added = pod["containers"][0]["securityContext"]["capabilities"]["add"]
    assert [f"CAP_{name}" for name in added] == granted[1].split()
    base = yaml.safe_load((BASE / "daemonset.yaml").read_text())
    assert patch["metadata"]["name"] == base["metadata"]["name"]
    assert pod["containers"][0]["name"] == CONTAINER["name"]
    gone = [one["mountPath"] for one in pod["containers"][0]["volumeMounts"]]
    assert {MOUNTS[path] for path in gone} == {one["name"] for one in pod["volumes"]}
