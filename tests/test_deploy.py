"""The manifests of deploy/: what any cluster would accept, and no more than the Pods need."""

from __future__ import annotations

import copy
import functools
import importlib
import re
import tomllib
from importlib.metadata import entry_points
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from kmetad._config.units import parse_duration, parse_size
from kmetad._daemon.places import FALLBACK
from kmetad.quantity import Quantity
from tests.deploying import BASES, DEPLOY, OVERLAYS, containers, in_old_words, one, rendered, rights, template
from tests.test_packaging import ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text()
VERSIONS = sorted({utils.major_minor(version) for version in utils.all_versions()}, key=lambda v: int(v[2:]))
NATIVE_SIDECARS = "1.29"
IMAGE_VOLUMES = "1.31"
"""The first versions whose API has them at all."""

every = pytest.mark.parametrize("name", [*BASES, *OVERLAYS])


def since(version: str) -> list[str]:
    """This version and the later ones that the schemas are there for."""
    return VERSIONS[VERSIONS.index(version) :]


def configuration(name: str) -> dict[str, Any]:
    """A rendered kmetad.toml."""
    return tomllib.loads(one(rendered(name), "ConfigMap", "web-kmetad")["data"]["kmetad.toml"])


def own(spec: dict[str, Any]) -> dict[str, Any]:
    """The container that the daemon runs in: the sidecar, else the app's."""
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    found: dict[str, Any] = (sidecars or spec["containers"])[0]
    return found


def unrestricted(spec: dict[str, Any]) -> list[str]:
    """Where a Pod breaks the profile "restricted", which includes "baseline".

    https://kubernetes.io/docs/concepts/security/pod-security-standards/; ``image`` volumes are allowed since 1.33.
    """
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"}
    allowed |= {"persistentVolumeClaim", "projected", "secret"}
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {v['name']}" for v in spec.get("volumes", ()) if not v.keys() - {"name"} <= allowed]
    of_pod = spec.get("securityContext", {})
    found += ["sysctls"] if of_pod.get("sysctls") else []
    for container in containers(spec):
        own = container.get("securityContext", {})
        both = {**of_pod, **own}
        capabilities = own.get("capabilities", {})
        handlers = [container.get(name) or {} for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        handlers += (container.get("lifecycle") or {}).values()
        wrong = {
            "privileged": own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
            "capabilities": capabilities.get("drop") != ["ALL"]
            or not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": both.get("runAsNonRoot") is not True,
            "runAsUser": both.get("runAsUser") == 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type")
            not in ("RuntimeDefault", "Localhost"),
            "other options": bool(both.keys() & {"appArmorProfile", "seLinuxOptions", "windowsOptions"}),
            "procMount": own.get("procMount", "Default") != "Default",
            "hostPort": any(port.get("hostPort") for port in container.get("ports", ())),
            "probe's host": any("host" in action for probe in handlers for action in _actions(probe)),
        }
        found += [f"{container['name']}: {what}" for what, is_so in wrong.items() if is_so]
    return found


def _actions(probe: dict[str, Any]) -> list[dict[str, Any]]:
    return [probe[kind] for kind in ("httpGet", "tcpSocket") if kind in probe]


def test_every_directory_is_tested() -> None:
    """And named by the page, which has no other."""
    there = {file.parent.name for file in DEPLOY.glob("*/kustomization.yaml")}
    assert there == {*BASES, *OVERLAYS}
    assert set(re.findall(r"\(\.\./deploy/([\w-]+)\)", PAGE)) == there


@every
def test_objects_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every version since native sidecars (or image volumes) are there, by its own schema: no unknown field."""
    monkeypatch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
    for version in since(IMAGE_VOLUMES if "image-volume" in name else NATIVE_SIDECARS):
        for found in rendered(name):
            assert kubernetes_validate.validate(found, version, strict=True) == version


def test_the_schemas_are_strict() -> None:
    """A field that a version doesn't know is refused, at any depth."""
    deployment = one(rendered("wrapper-image-volume"), "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError, match="'image' was unexpected"):
        kubernetes_validate.validate(deployment, "1.30", strict=True)


@every
def test_pods_satisfy_the_restricted_profile(name: str) -> None:
    """Pod Security Admission admits them where a namespace enforces it."""
    assert unrestricted(template(rendered(name))["spec"]) == []


@pytest.mark.parametrize(
    "taken", ["runAsNonRoot", "seccompProfile", "allowPrivilegeEscalation", "capabilities"]
)
def test_the_profile_is_looked_at(taken: str) -> None:
    """Each field that it demands is missed, in the Pod or in a container."""
    spec = copy.deepcopy(template(rendered("sidecar"))["spec"])
    for context in (spec["securityContext"], spec["initContainers"][0]["securityContext"]):
        context.pop(taken, None)
    assert f"kmetad: {taken}" in unrestricted(spec)


@every
def test_root_file_systems_are_read_only(name: str) -> None:
    """For all containers; each says what it needs, and may use that much memory and no more."""
    for container in containers(template(rendered(name))["spec"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@every
def test_references_are_resolved(name: str) -> None:
    """ConfigMaps, the service account and volumes are there, by the same names; every volume is mounted."""
    objects = rendered(name)
    spec = template(objects)["spec"]
    assert spec["serviceAccountName"] == one(objects, "ServiceAccount")["metadata"]["name"]
    maps = {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
    assert maps == {o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
    mounted = {mount["name"] for c in containers(spec) for mount in c.get("volumeMounts", ())}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    assert not any("subPath" in mount for mount in own(spec)["volumeMounts"] if mount["name"] != "image")


@every
def test_the_token_is_where_it_is_needed(name: str) -> None:
    """Nothing is mounted by itself; where the plugins call the API server, only the sidecar has the token."""
    objects = rendered(name)
    spec = template(objects)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert one(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    having = [
        c["name"] for c in containers(spec) for m in c.get("volumeMounts", ()) if m["name"] == "account"
    ]
    assert having == (["kmetad"] if rights(objects) else [])


@every
def test_roles_are_what_the_plugins_need(name: str) -> None:
    """Exactly: what each plugin says of itself, and for the ambassador what its rules let clients ask for."""
    needed: set[str] = set()
    for plugin, table in configuration(name)["plugins"].items():
        (entry,) = entry_points(group="kmetad", name=table.get("use", plugin))
        needed |= set(getattr(importlib.import_module(entry.module), "ROLE", {}))
        for rule in table.get("allow", ()):
            verbs, resources = rule.split(":")
            needed |= {f"{verb} {resource}" for verb in verbs.split(",") for resource in resources.split(",")}
    assert rights(rendered(name)) == needed


@every
def test_roles_are_bound(name: str) -> None:
    """To the Pod's service account; the subject's namespace is the binding's where it isn't said."""
    objects = rendered(name)
    for binding in (o for o in objects if o["kind"] == "RoleBinding"):
        assert binding["roleRef"]["name"] == one(objects, "Role")["metadata"]["name"]
        (subject,) = binding["subjects"]
        assert subject["name"] == one(objects, "ServiceAccount")["metadata"]["name"]
        assert subject.get("namespace") == binding["metadata"].get("namespace")


def test_the_page_has_every_right() -> None:
    """Its table names what a plugin needs, and nothing that none needs."""
    told = {right for row in re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE) for right in row.split("`, `")}
    assert told == {right for name in BASES for right in rights(rendered(name))}


@every
def test_the_toml_is_of_this_pod(name: str) -> None:
    """What it names is in kmetad's container; quantities have their item's divisor; it can write where it has to."""
    spec, toml = template(rendered(name))["spec"], configuration(name)
    mounts = {mount["mountPath"]: mount for mount in own(spec)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for volume in toml["volumes"].values():
        items = volumes[mounts[volume["path"]]["name"]].get("downwardAPI", {}).get("items", ())
        quantities = {item["path"]: item["resourceFieldRef"] for item in items if "resourceFieldRef" in item}
        declared = volume.get("items", {})
        assert declared.keys() == quantities.keys()
        for path, item in declared.items():
            written = {
                "containerName": item["container"],
                "resource": item["resource"],
                "divisor": item["divisor"],
            }
            assert written == quantities[path]
    state = mounts[toml["state"]["dir"]]
    assert "emptyDir" in volumes[state["name"]] and not state.get("readOnly")
    assert toml["state"]["dir"] == FALLBACK  # so that `kmetad status` finds it even if the TOML is broken
    assert mounts["/etc/kmetad"]["name"] == "kmetad"


@every
def test_limits_leave_room(name: str) -> None:
    """The app's own shutdown and the drain come before KILL; kmetad's own memory limit before the container's."""
    objects = rendered(name)
    spec, toml = template(objects)["spec"], configuration(name)
    settings = "".join(text for o in objects if o["kind"] == "ConfigMap" for text in o["data"].values())
    graceful = max(map(int, re.findall(r"graceful_timeout = (\d+)", settings)), default=0)
    drain = parse_duration(toml.get("run", {}).get("drain_timeout", "5s"))
    assert graceful + drain < spec["terminationGracePeriodSeconds"]
    limit = Quantity(own(spec)["resources"]["limits"]["memory"]).milli // 1000
    assert limit > parse_size(toml.get("daemon", {}).get("memory_limit", "128Mi"))


def test_the_overlay_changes_what_it_says() -> None:
    """Namespace, images, app and TOML are the user's; all else is the base's."""
    base, objects = template(rendered("sidecar"))["spec"], rendered("example")
    spec = template(objects)["spec"]
    assert {o["metadata"]["namespace"] for o in objects} == {"shop"}
    assert [container["image"] for container in containers(spec)] == [
        "registry.example/kmetad:0.1.0",
        "registry.example/shop/web:42",
    ]
    assert spec["containers"][0]["args"][0] == "shop"
    for kept in ("command", "startupProbe", "securityContext", "volumeMounts", "resources"):
        assert spec["initContainers"][0][kept] == base["initContainers"][0][kept]


def test_the_monitor_finds_the_port() -> None:
    """Its port is one of the Pod's, the one that the TOML says, and its selector the Pod's label."""
    monitor = yaml.safe_load((DEPLOY / "example" / "podmonitor.yaml").read_text())
    made = template(rendered("example"))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    ports = {port["name"]: port["containerPort"] for port in own(made["spec"])["ports"]}
    assert ports[endpoint["port"]] == configuration("example")["plugins"]["status"]["port"]
    assert made["metadata"]["annotations"]["prometheus.io/port"] == str(ports[endpoint["port"]])
    assert monitor["spec"]["selector"]["matchLabels"].items() <= made["metadata"]["labels"].items()


def test_old_words() -> None:
    """What kubectl before 1.21 calls otherwise, as the page tells."""
    new = yaml.safe_load((DEPLOY / "wrapper-inside" / "kustomization.yaml").read_text())
    old = in_old_words(new)
    assert (old["bases"], old["patchesStrategicMerge"]) == (["../wrapper"], ["patch.yaml"])
    assert not {"resources", "patches"} & old.keys()
    assert all(f"`{word}`" in PAGE for word in ("bases", "patchesStrategicMerge"))
