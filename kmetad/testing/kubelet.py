"""A volume written as the kubelet writes it: no cluster needed, the same system calls.

::

    volume = Volume("/tmp/podinfo")
    volume.write(labels={"app": "web"}, annotations={"note": "hello"}, files={"cpu_limit": "250"})
    volume.label("app", "db")       # a new generation is swapped in: True
    volume.label("app", "db")       # nothing changed, nothing is swapped: False
    volume.label("app", None)       # removed
    volume.remove()                 # the Pod is gone

What follows the real thing is the order of system calls, because that is what a
watcher and a reader of the volume live with: a directory named by the time, its files,
``..data_tmp``, the rename onto ``..data``, only then the links in the volume's root, and
last the removal of the old directory (Kubernetes' ``pkg/volume/util/atomic_writer.go``;
``tests/test_kubelet.py`` holds this module to a recording of a real one). Its oddities
are kept: an unchanged payload swaps nothing, another mode is no change, a forgotten
``..data_tmp`` makes every write fail, and with ``fs_group`` the whole volume changes
hands before each swap.

As with the kubelet, a volume has one writer: calls from several threads need a lock.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from kmetad._goquote import encode as encode
from kmetad._goquote import quote as quote

_T = TypeVar("_T")

Texts = Mapping[str, str]
"""Labels or annotations. Bytes that are no UTF-8 are surrogate escapes, as ``os.fsdecode`` gives them."""

_DATA = "..data"
_DATA_TMP = "..data_tmp"

_MAX_NAME = 255
_MAX_PATH = 4096

_FS_GROUP_FILE = 0o440
"""What fsGroup adds to a file's mode: the group may read; the volume is read-only (``volume_linux.go``)."""

_FS_GROUP_DIRECTORY = 0o2550
"""Likewise for a directory, with the set-group-id bit."""

_IS_DIRECTORY = (IsADirectoryError, PermissionError)
"""What unlink(2) of a directory raises: the first on Linux, the second where POSIX is followed."""


class Volume:
    """One downward API, projected, ConfigMap or Secret volume of a simulated Pod.

    ``path`` is the directory that a container would mount; the first write makes it, if
    it isn't there. Where it already holds a volume, that one's payload is gone on from.
    ``mode`` is every file's mode (``defaultMode``). ``fs_group`` is the Pod's fsGroup, and
    ``fs_user`` who owns the files (the kubelet does so for tokens, by runAsUser); both are
    numbers, None for the writer's own, and take a privileged writer unless they are its own.
    These three are attributes, and may be set anew between two writes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: int = 0o644,
        fs_group: int | None = None,
        fs_user: int | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.mode = mode
        self.fs_group = fs_group
        self.fs_user = fs_user
        self.swapped_ns = 0
        """CLOCK_MONOTONIC nanoseconds right before the rename of the last swap; 0 before the first."""
        self._labels: Texts | None = None
        self._annotations: Texts | None = None
        self._files: Mapping[str, str | bytes] = {}
        self._adopt()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def write(
        self,
        labels: Texts | None = None,
        annotations: Texts | None = None,
        files: Mapping[str, str | bytes] | None = None,
    ) -> bool:
        """Make this, and nothing else, the volume's payload; True if a new generation was swapped in.

        ``labels`` and ``annotations`` become the files of those names, quoted as the
        kubelet does (``encode``); None means that there is no such file, an empty mapping
        a file of no bytes. ``files`` are any others by their path in the volume
        (``cpu_limit``, ``mem/limit``); one that is called ``labels`` or ``annotations``
        stands in for the mapping, so that a test can break what the kubelet never breaks.

        Raises ValueError for a path that Kubernetes refuses, FileExistsError while a stale
        ``..data_tmp`` is in the way, and OSError as the system calls do. The payload is
        remembered all the same, as the API server would, for ``sync``.
        """
        self._labels = None if labels is None else dict(labels)
        self._annotations = None if annotations is None else dict(annotations)
        self._files = dict(files or {})
        return self.sync()

    def update(
        self,
        labels: Mapping[str, str | None] | None = None,
        annotations: Mapping[str, str | None] | None = None,
        files: Mapping[str, str | bytes | None] | None = None,
    ) -> bool:
        """Merge into the last payload, in one write; a value of None removes its key.

        Answers and raises as ``write`` does.
        """
        if labels is not None:
            self._labels = _merged(self._labels or {}, labels)
        if annotations is not None:
            self._annotations = _merged(self._annotations or {}, annotations)
        if files is not None:
            self._files = _merged(self._files, files)
        return self.sync()

    def label(self, key: str, value: str | None) -> bool:
        """Set one label, or remove it with None; as ``update``."""
        return self.update(labels={key: value})

    def annotate(self, key: str, value: str | None) -> bool:
        """Set one annotation, or remove it with None; as ``update``."""
        return self.update(annotations={key: value})

    def file(self, path: str, content: str | bytes | None) -> bool:
        """Set one other file, or remove it with None; as ``update``."""
        return self.update(files={path: content})

    def sync(self) -> bool:
        """Write the last payload again, as the kubelet's resync does; as ``write``.

        It swaps only if the volume differs from it, and puts back links that are missing.
        """
        payload = self.payload
        _check(payload)
        return self._write(payload)

    @property
    def payload(self) -> dict[str, bytes]:
        """What the last write was to put into the volume: contents by path, in the order of writing."""
        payload = {}
        if self._labels is not None:
            payload["labels"] = encode(self._labels)
        if self._annotations is not None:
            payload["annotations"] = encode(self._annotations)
        for path, content in self._files.items():
            payload[path] = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        return payload

    @property
    def generation(self) -> str:
        """The name of the directory that ``..data`` points to; empty before the first swap."""
        try:
            return os.readlink(f"{self.path}/{_DATA}")
        except FileNotFoundError:
            return ""

    def leave_stale_tmp(self) -> None:
        """Leave a ``..data_tmp``, as a kubelet killed in the middle does: every swap fails from now on."""
        os.symlink("nowhere", f"{self.path}/{_DATA_TMP}")

    def clear_stale_tmp(self) -> None:
        """Take the stale ``..data_tmp`` away: writes succeed again."""
        os.unlink(f"{self.path}/{_DATA_TMP}")

    def remove(self) -> None:
        """Tear the volume down with the Pod: everything in the directory goes, then the directory.

        Nothing happens if it is gone already. A later write makes it again.
        """
        _remove_all(self.path)

    def _adopt(self) -> None:
        """Take over the payload of a volume that another writer left."""
        data = f"{self.path}/{_DATA}"
        if not os.path.exists(data):
            return
        files: dict[str, str | bytes] = {}
        for path, is_directory in _walk(data):
            if not is_directory:
                with open(f"{data}/{path}", "rb") as file:
                    files[path] = file.read()
        self._labels = _decoded(files, "labels")
        self._annotations = _decoded(files, "annotations")
        self._files = files

    def _write(self, payload: Mapping[str, bytes]) -> bool:
        """The AtomicWriter's Write; ``payload`` is checked."""
        root = self.path
        if not os.path.isdir(root):
            os.makedirs(root)
        old = self.generation
        stale: list[str] = []
        if old:
            stale = _stale(f"{root}/{old}", payload)
            if not _differs(f"{root}/{old}", payload) and not stale:
                _link(root, payload)
                return False

        new = self._make_generation()
        try:
            self._fill(f"{root}/{new}", payload)
            if self.fs_group is not None:
                _give_to_group(root, self.fs_group)
            os.symlink(new, f"{root}/{_DATA_TMP}")
        except OSError:
            _remove_all(f"{root}/{new}")
            raise
        self.swapped_ns = time.monotonic_ns()
        os.rename(f"{root}/{_DATA_TMP}", f"{root}/{_DATA}")

        _link(root, payload)
        for path in stale:
            if "/" not in path:  # the links are to what lies at the top
                os.unlink(f"{root}/{path}")
        if old:
            _remove_all(f"{root}/{old}")
        return True

    def _make_generation(self) -> str:
        """A new directory named by the time (UTC) and a random number; its name."""
        random = int.from_bytes(os.urandom(4), "big")
        name = time.strftime(f"..%Y_%m_%d_%H_%M_%S.{random}", time.gmtime())
        path = f"{self.path}/{name}"
        os.mkdir(path, 0o700)
        os.chmod(path, 0o755)  # whatever the umask
        return name

    def _fill(self, directory: str, payload: Mapping[str, bytes]) -> None:
        made = {""}
        for path, content in payload.items():
            folder = path.rpartition("/")[0]
            if folder not in made:
                os.makedirs(f"{directory}/{folder}", exist_ok=True)
                made.add(folder)
            file = f"{directory}/{path}"
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, self.mode)
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)
            os.chmod(file, self.mode)  # whatever the umask
            if self.fs_user is not None:
                os.chown(file, self.fs_user, -1)


_STAND_IN = "-----BEGIN CERTIFICATE-----\nc2ltdWxhdGVk\n-----END CERTIFICATE-----\n"


class ServiceAccountVolume(Volume):
    """The volume at /var/run/secrets/kubernetes.io/serviceaccount: ``token``, ``ca.crt``, ``namespace``.

    ::

        account = ServiceAccountVolume(path, namespace="shop")
        account.rotate(token(expires=time.time() + 600))
        account.file("ca.crt", new_certificate)

    Its token is well-formed and good for nothing: no server would accept the signature.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str = "default",
        mode: int = 0o644,
        fs_group: int | None = None,
        fs_user: int | None = None,
    ) -> None:
        super().__init__(path, mode=mode, fs_group=fs_group, fs_user=fs_user)
        self.namespace = namespace

    def rotate(self, new_token: str | None = None) -> bool:
        """Put another token in, as the kubelet does before the old one ends; by default one of ``token``'s.

        The first time ``ca.crt`` (a stand-in, no certificate) and ``namespace`` (as in the
        constructor) come along. Answers and raises as ``write`` does.
        """
        if new_token is None:
            new_token = token(namespace=self.namespace)
        first: dict[str, str | bytes] = {"ca.crt": _STAND_IN, "namespace": self.namespace}
        return self.update(files={**first, **self._files, "token": new_token})


def token(
    *,
    expires: float | None = None,
    warn_after: float | None = None,
    audiences: Iterable[str] = ("https://kubernetes.default.svc.cluster.local",),
    namespace: str = "default",
    service_account: str = "default",
    pod: str = "demo",
) -> str:
    """A JSON Web Token with the claims that the API server gives a Pod's token, each one different.

    ``expires`` (the claim ``exp``) and ``warn_after`` (``kubernetes.io.warnafter``) are in
    seconds since the epoch, fractions are cut off. With neither it is the default token:
    good for a year, with a warning after 3607 s; with ``expires`` alone there is no warning,
    as for a token that a projected volume declares.
    """
    import json

    now = int(time.time())
    if expires is None:
        expires = now + 365 * 24 * 3600
        warn_after = now + 3607 if warn_after is None else warn_after
    kubernetes: dict[str, object] = {
        "namespace": namespace,
        "node": {"name": "node-1", "uid": _uid()},
        "pod": {"name": pod, "uid": _uid()},
        "serviceaccount": {"name": service_account, "uid": _uid()},
    }
    if warn_after is not None:
        kubernetes["warnafter"] = int(warn_after)
    claims = {
        "aud": list(audiences),
        "exp": int(expires),
        "iat": now,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": _uid(),
        "kubernetes.io": kubernetes,
        "nbf": now,
        "sub": f"system:serviceaccount:{namespace}:{service_account}",
    }
    header = {"alg": "RS256", "kid": "simulated"}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    return ".".join(_base64url(part) for part in (*parts, os.urandom(256)))


def _base64url(data: bytes) -> str:
    """Base 64 in the alphabet for URLs and without padding, as RFC 7515 wants it."""
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _uid() -> str:
    """A new uid as Kubernetes gives them: a random UUID."""
    from uuid import uuid4

    return str(uuid4())


def _merged(before: Mapping[str, _T], changes: Mapping[str, _T | None]) -> dict[str, _T]:
    """``before`` with the changes made; None removes."""
    kept = {key: value for key, value in before.items() if changes.get(key, value) is not None}
    return kept | {key: value for key, value in changes.items() if value is not None}


def _decoded(files: dict[str, str | bytes], name: str) -> Texts | None:
    """The map that the file was written from, taken out of ``files``; left there if it is no such file."""
    from kmetad._sources.textmap import decode
    from kmetad.errors import DecodeError

    content = files.get(name)
    if not isinstance(content, bytes):
        return None
    try:
        texts = decode(content, name)
    except DecodeError:
        return None
    del files[name]
    return texts


def _check(payload: Iterable[str]) -> None:
    """Raise ValueError for the paths that Kubernetes refuses (``validatePath``)."""
    for path in payload:
        parts = path.split("/")
        if not path or path.startswith("/"):
            reason = "it has to be a relative path"
        elif len(os.fsencode(path)) > _MAX_PATH:
            reason = f"it is longer than {_MAX_PATH} bytes"
        elif parts[0].startswith("..") or ".." in parts:
            reason = "names that start with '..' belong to the kubelet"
        elif any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
            reason = f"it has a name longer than {_MAX_NAME} bytes"
        elif "" in parts or "." in parts:
            reason = "it has an empty name or '.' between its slashes"
        else:
            continue
        raise ValueError(f"no path in a volume: {path!r}; {reason}")


def _walk(directory: str, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every path below a directory, sorted, and whether it is a directory itself."""
    with os.scandir(directory) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_directory in found:
        yield prefix + name, is_directory
        if is_directory:
            yield from _walk(f"{directory}/{name}", f"{prefix}{name}/")


def _stale(old: str, payload: Iterable[str]) -> list[str]:
    """What the old generation has, directories included, and the payload has not."""
    wanted = set(payload)
    for path in payload:
        while path := path.rpartition("/")[0]:
            wanted.add(path)
    return [path for path, _ in _walk(old) if path not in wanted]


def _differs(old: str, payload: Mapping[str, bytes]) -> bool:
    """True if a file of the payload is new or has another content; modes don't count."""
    for path, content in payload.items():
        try:
            with open(f"{old}/{path}", "rb", buffering=0) as file:
                if file.read() != content:
                    return True
        except FileNotFoundError:
            return True
    return False


def _link(root: str, payload: Iterable[str]) -> None:
    """Make the links ``x -> ..data/x`` that are missing in the root, one for each top-level name."""
    for path in payload:
        name = path.partition("/")[0]
        try:
            os.readlink(f"{root}/{name}")
        except FileNotFoundError:
            os.symlink(f"{_DATA}/{name}", f"{root}/{name}")


def _give_to_group(path: str, group: int) -> None:
    """Hand everything from ``path`` down to fsGroup, what lies deeper first (``SetVolumeOwnership``)."""
    for name in os.listdir(path):
        child = f"{path}/{name}"
        if os.path.islink(child):
            os.chown(child, -1, group, follow_symlinks=False)
        elif os.path.isdir(child):
            _give_to_group(child, group)
        else:
            _give(child, group, _FS_GROUP_FILE)
    _give(path, group, _FS_GROUP_DIRECTORY)


def _give(path: str, group: int, bits: int) -> None:
    os.chown(path, -1, group)
    os.chmod(path, os.stat(path).st_mode & 0o7777 | bits)


def _remove_all(path: str) -> None:
    """Remove a file or a whole directory, as Go's ``os.RemoveAll`` goes about it; fine if it isn't there."""
    try:
        os.unlink(path)
        return
    except FileNotFoundError:
        return
    except _IS_DIRECTORY:
        pass
    try:
        os.rmdir(path)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    parent = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _remove_from(parent, os.path.basename(path))
    finally:
        os.close(parent)


def _remove_from(parent: int, name: str) -> None:
    """Remove ``name`` from the directory that a descriptor is open for, with all that is in it."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except _IS_DIRECTORY:
        pass
    directory = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY, dir_fd=parent)
    try:
        for child in os.listdir(directory):
            _remove_from(directory, child)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)
