"""deploy/ as a cluster would run it: rendered by kubectl, its volumes written, its containers started in their order.

A container is this machine's own files in a mount namespace, with the Pod's volumes at their
paths and a root file system that is read-only where the manifest says so. Its process is the
manifest's user, who has no capability: in a user namespace, behind which it owns what the test
owns. An image is what stands for it: kmetad's has ``/opt/kmetad``, the app's a program ``gunicorn``.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kmetad.quantity import Quantity
from kmetad.testing import kubelet
from tests.apiserver import ApiServer
from tests.apiserver import pod as pod_object
from tests.cli import DEADLINE, Output, environment, eventually
from tests.namespaces import own
from tests.test_packaging import ROOT

DEPLOY = ROOT / "deploy"
BASES = ("ambassador", "sidecar", "wrapper")
OVERLAYS = ("example", "wrapper-image-volume", "wrapper-inside")
NAMESPACE = "lab"

_APP = """
import os, signal, sys
signals = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
options = dict(argument.split("=", 1) for argument in sys.argv[1:] if argument.startswith("--"))
if "--pid" in options:
    with open(options["--pid"], "w") as file:
        file.write(str(os.getpid()))
print("started, version", os.environ.get("APP_VERSION"), flush=True)
while signal.sigwait(signals) == signal.SIGHUP:
    print("reloaded:", open(options["--config"]).read().strip(), flush=True)
"""

_COPY = f"""
import runpy, sys
sys.prefix = "/opt/kmetad"  # where the bundle's own interpreter is
runpy.run_path({str(ROOT / "container" / "kmetad-copy")!r}, run_name="__main__")
"""


@functools.cache
def old_kubectl() -> bool:
    """Whether the kubectl here is one before 1.21, such as Debian's, whose kustomize is 2.0.3."""
    told = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, check=True)
    return int(re.match(r"\d+", json.loads(told.stdout)["clientVersion"]["minor"])[0]) < 21  # type: ignore[index]


@functools.cache
def _text(name: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        root = DEPLOY
        if old_kubectl():
            root = Path(directory) / "deploy"
            shutil.copytree(DEPLOY, root)
            for file in root.glob("*/kustomization.yaml"):
                file.write_text(yaml.safe_dump(in_old_words(yaml.safe_load(file.read_text()))))
        command = ["kubectl", "kustomize", str(root / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # where it warns of what is going to be removed
    return done.stdout


def in_old_words(kustomization: dict[str, Any]) -> dict[str, Any]:
    """A kustomization as kubectl before 1.21 has it; docs/deploy.md says so."""
    told = dict(kustomization)
    told["bases"] = [name for name in told["resources"] if not name.endswith(".yaml")]
    told["resources"] = [name for name in told["resources"] if name.endswith(".yaml")]
    told["patchesStrategicMerge"] = [patch["path"] for patch in told.pop("patches", ())]
    return {key: value for key, value in told.items() if value}


def rendered(name: str) -> list[dict[str, Any]]:
    """The objects that ``kubectl apply -k deploy/NAME`` would send."""
    return list(yaml.safe_load_all(_text(name)))


def one(objects: Iterable[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The only object of a kind (and a name)."""
    (found,) = (o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"]))
    return found


def template(objects: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The Deployment's Pod."""
    found: dict[str, Any] = one(objects, "Deployment")["spec"]["template"]
    return found


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """All of a Pod, in the order in which they start."""
    return [*(spec.get("initContainers") or ()), *spec["containers"]]


def rights(objects: Iterable[dict[str, Any]]) -> set[str]:
    """What the role allows, as ``kmetad api can-i`` takes it: ``patch pods/status``."""
    return {
        f"{verb} {resource}" + (f".{group}" if group else "")
        for role in objects
        if role["kind"] == "Role"
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


class Pod:
    """One Pod of a rendered Deployment, on a server that grants its service account what the objects' Role says.

    ``edits`` are replaced in every ConfigMap, for what two tests can't have at once: a port.
    """

    def __init__(
        self,
        objects: list[dict[str, Any]],
        directory: Path,
        server: ApiServer,
        edits: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.server = server
        self.objects = objects
        made = template(objects)
        self.spec: dict[str, Any] = made["spec"]
        known = server.put(pod_object("web-0", NAMESPACE, labels=made["metadata"]["labels"]))
        self.metadata: dict[str, Any] = {
            "annotations": {},
            **made["metadata"],
            "name": "web-0",
            "namespace": NAMESPACE,
            "uid": known["metadata"]["uid"],
        }
        self.maps: dict[str, dict[str, str]] = {
            o["metadata"]["name"]: {key: _edited(text, edits or {}) for key, text in o["data"].items()}
            for o in objects
            if o["kind"] == "ConfigMap"
        }
        self.maps["kube-root-ca.crt"] = {"ca.crt": server.authority.pem.decode()}
        self.user = f"system:serviceaccount:{NAMESPACE}:{self.spec['serviceAccountName']}"
        self._grant()
        self._token = server.token(self.user)
        self._volumes: dict[str, kubelet.Volume] = {}
        self._make_images()
        for volume in self.spec["volumes"]:
            if "emptyDir" in volume:
                self.at(volume["name"]).mkdir(parents=True)
                self.at(volume["name"]).chmod(0o777)  # as the kubelet does, whatever the umask
            elif "image" in volume:
                (self.at(volume["name"]) / "opt").mkdir(parents=True)
                shutil.copytree(
                    directory / "image", self.at(volume["name"]) / "opt" / "kmetad", symlinks=True
                )
            else:
                self._volumes[volume["name"]] = kubelet.Volume(self.at(volume["name"]))
        self.sync()
        self.running: dict[str, Running] = {}

    def at(self, volume: str) -> Path:
        """Where the node has a volume."""
        return self.directory / "volumes" / volume

    def sync(self) -> None:
        """Write the volumes anew, as the kubelet does."""
        for volume in self.spec["volumes"]:
            if volume["name"] in self._volumes:
                self._volumes[volume["name"]].write(files=self._projected(volume))

    def label(self, key: str, value: str) -> None:
        """What ``kubectl label --overwrite`` leads to."""
        self.metadata["labels"] = self.metadata["labels"] | {key: value}
        self.sync()

    def configure(self, name: str, key: str, text: str) -> None:
        """Change a ConfigMap."""
        self.maps[name][key] = text
        self.sync()

    def start(self) -> None:
        """Start all containers as the kubelet does: each init container has ended, or is up, before the next begins."""
        for container in self.spec.get("initContainers") or ():
            if container.get("restartPolicy") != "Always":
                done = self.run(container, container["command"])
                assert done.returncode == 0, done.stderr
                continue
            self.begin(container)
            if "startupProbe" in container:
                self.started(container)
        for container in self.spec["containers"]:
            self.begin(container)

    def started(self, container: dict[str, Any]) -> None:
        """Wait for a container's startupProbe, a command."""
        name, command = container["name"], container["startupProbe"]["exec"]["command"]
        eventually(lambda: self.run(container, command).returncode == 0, f"startupProbe of {name}")
        assert self.running[name].process.poll() is None

    def begin(self, container: dict[str, Any]) -> None:
        """Start a container that goes on running, if its image's stand-in has something to run."""
        if command := [*container.get("command", ()), *container.get("args", ())]:
            self.running[container["name"]] = Running(self.command(container, command))

    def run(self, container: dict[str, Any], argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, to its end, as ``kubectl exec`` does."""
        return subprocess.run(self.command(container, argv), capture_output=True, text=True, timeout=DEADLINE)

    def container(self, name: str) -> dict[str, Any]:
        """One of the manifest's."""
        (found,) = (container for container in containers(self.spec) if container["name"] == name)
        return found

    def close(self) -> None:
        """End all, the sidecars last."""
        for running in reversed(self.running.values()):
            running.close()

    def _grant(self) -> None:
        if not any(o["kind"] == "Role" for o in self.objects):
            return
        role, binding = one(self.objects, "Role"), one(self.objects, "RoleBinding")
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        (subject,) = binding["subjects"]
        assert subject["kind"] == "ServiceAccount"
        user = f"system:serviceaccount:{NAMESPACE}:{subject['name']}"
        for rule in role["rules"]:
            self.server.allow(user, rule["verbs"], rule["resources"], rule["apiGroups"], namespace=NAMESPACE)

    def _make_images(self) -> None:
        image, programs = self.directory / "image", self.directory / "programs"
        (image / "bin").mkdir(parents=True)
        programs.mkdir()
        _program(image / "bin" / "kmetad", "-m", "kmetad")
        _program(image / "bin" / "kmetad-copy", "-c", _COPY)
        for name in ("gunicorn", "shop"):
            _program(programs / name, "-c", _APP)

    def _projected(self, volume: dict[str, Any]) -> dict[str, str | bytes]:
        """A volume's files."""
        if "configMap" in volume:
            return {**self.maps[volume["configMap"]["name"]]}
        files: dict[str, str | bytes] = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "serviceAccountToken" in source:
                files[source["serviceAccountToken"]["path"]] = self._token
            elif "configMap" in source:
                data = self.maps[source["configMap"]["name"]]
                files |= {item["path"]: data[item["key"]] for item in source["configMap"]["items"]}
            else:
                items = source["downwardAPI"]["items"]
                files |= {item["path"]: self._field(item) for item in items}
        return files

    def _field(self, item: dict[str, Any]) -> str | bytes:
        """What the kubelet writes for an item of a downwardAPI volume."""
        if "fieldRef" in item:
            section, _, name = item["fieldRef"]["fieldPath"].partition(".")
            assert section == "metadata"
            value: str | dict[str, str] = self.metadata[name]
            return value if isinstance(value, str) else kubelet.encode(value)
        reference = item["resourceFieldRef"]
        kind, _, resource = reference["resource"].partition(".")
        quantity = Quantity(self.container(reference["containerName"])["resources"][kind][resource])
        return str(-(-quantity.milli // Quantity(reference["divisor"]).milli))

    def command(self, container: dict[str, Any], argv: list[str]) -> list[str]:
        """What runs a command in a container."""
        context = {**self.spec["securityContext"], **container["securityContext"]}
        # Of the images only kmetad's own, and one that was built so, have it in them.
        inside = {"/opt/kmetad": str(self.directory / "image")}
        mounts = inside if "kmetad" in container["image"] else {}
        writable = [str(ROOT)]  # where coverage's data goes
        for mount in container.get("volumeMounts", ()):
            source = f"{self.at(mount['name'])}/{mount.get('subPath', '')}"
            mounts[mount["mountPath"]] = source
            if not mount.get("readOnly"):
                writable.append(mount["mountPath"])
        mounts.pop("/tmp", None)  # which this very test may be in
        script = _mounting(mounts, writable, self.directory, context.get("readOnlyRootFilesystem", False))
        user, group = context["runAsUser"], context["runAsGroup"]
        apart = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}"]
        given = {
            "KUBERNETES_SERVICE_HOST": self.server.host,
            "KUBERNETES_SERVICE_PORT": str(self.server.port),
            "PATH": f"{self.directory}/programs:/usr/bin:/bin",
            **{k: v for k, v in environment().items() if k.startswith("COVERAGE_")},
        }
        variables = [f"{name}={value}" for name, value in given.items()]
        script.append(f"cd / && exec {shlex.join([*apart, 'env', '-i', *variables, *argv])}")
        own("user")  # or the test is skipped
        return [*own("mount"), "bash", "-ec", "\n".join(script)]


def _program(path: Path, *python: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *python])} "$@"\n')
    path.chmod(0o755)


def _edited(text: str, edits: Mapping[str, str]) -> str:
    for old, new in edits.items():
        text = text.replace(old, new)
    return text


def _mounting(mounts: Mapping[str, str], writable: list[str], work: Path, read_only: bool) -> list[str]:
    """Shell lines that mount directories at paths, which needn't be there, and make all else read-only."""
    targets = {os.path.realpath(path): source for path, source in mounts.items()}
    tops = sorted({f"/{Path(target).parts[1]}" for target in targets if not os.path.isdir(target)})
    quoted = shlex.quote
    lines = [f"mkdir -p {quoted(f'{work}/tops')}", f"mount -t tmpfs tmpfs {quoted(f'{work}/tops')}"]
    for top in tops:  # so that directories can be made there, for this container alone
        upper, aside = f"{work}/tops{top}/own", f"{work}/tops{top}/work"
        lines.append(f"mkdir -p {quoted(upper)} {quoted(aside)}")
        layers = quoted(f"lowerdir={top},upperdir={upper},workdir={aside}")
        lines.append(f"mount -t overlay overlay -o {layers} {top}")
    for target, source in [(str(ROOT), str(ROOT)), *targets.items()]:
        lines += [f"mkdir -p {quoted(target)}", f"mount --bind {quoted(source)} {quoted(target)}"]
    if read_only:
        kept = {os.path.realpath(path) for path in writable}
        lines += [f"mount -o remount,bind,ro {path}" for path in (*targets, *tops, "/") if path not in kept]
    return lines


class Running:
    """A container that runs on, and its two outputs."""

    def __init__(self, command: list[str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
        )
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def close(self) -> None:
        """TERM, and the end."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            self.out.close()
            self.err.close()
