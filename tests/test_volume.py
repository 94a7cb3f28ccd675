"""kmetad._sources.volume: what a volume's files say of the Pod."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._diff import diff
from kmetad._sources.content import NOTHING, Content, Source
from kmetad._sources.items import Item
from kmetad._sources.merge import merge
from kmetad._sources.volume import Volume as VolumeSource
from kmetad.errors import SourceLost, SourceUnreadable
from kmetad.metadata import EMPTY, Resource, Snapshot, SourceState
from kmetad.quantity import Quantity
from kmetad.testing.kubelet import Volume, encode
from tests.unprivileged import as_nobody

KEY = b"k" * 32
UID = "28989a40-a9b7-4076-9382-29cc53fda193"


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume that isn't written yet."""
    return Volume(tmp_path / "podinfo")


@pytest.fixture
def open_volume() -> Iterator[Volume]:
    """One that everybody may enter; pytest's directories may be entered by their owner alone."""
    above = Path(tempfile.mkdtemp(prefix="kmetad-"))
    above.chmod(0o755)
    yield Volume(above / "podinfo")
    shutil.rmtree(above)


def source(volume: Volume, items: Mapping[str, Item] | None = None, kind: str = "auto") -> VolumeSource:
    """A source that reads the volume."""
    return VolumeSource("podinfo", volume.path, kind=kind, items=items, digest_key=KEY)  # type: ignore[arg-type]


def read(volume: Volume, items: Mapping[str, Item] | None = None, kind: str = "auto") -> Content:
    """The first reading of it."""
    return source(volume, items, kind).read(NOTHING)


def test_it_is_a_source(volume: Volume) -> None:
    """It has what a watcher asks of a source."""
    podinfo: Source = source(volume)
    assert (podinfo.name, podinfo.path) == ("podinfo", volume.path)


def test_labels_and_annotations(volume: Volume) -> None:
    """Both maps, exactly; nothing else."""
    annotations = {"note": 'a\n"b"\\\udcff\x00', "empty": ""}
    volume.write(labels={"app": "web"}, annotations=annotations)
    content = read(volume)
    assert content == Content(
        labels={"app": "web"},
        annotations=annotations,
        swapped_ns=content.swapped_ns,
        fingerprint=volume.generation,
    )
    assert content.swapped_ns == os.stat(f"{volume.path}/..data").st_mtime_ns


def test_nothing_can_be_changed(volume: Volume) -> None:
    """A reading's mappings are read-only."""
    volume.write(labels={"app": "web"}, annotations={}, files={"name": "web-1"})
    content = read(volume)
    for part in (content.labels, content.annotations, content.fields, content.files):
        with pytest.raises(TypeError):
            part["x"] = 1  # type: ignore[index]


def test_a_megabyte_of_annotations(volume: Volume) -> None:
    """An annotations file of more than 1 MiB is read whole."""
    annotations = {"big": "é\n" * 400_000, "small": "1"}
    volume.write(annotations=annotations)
    assert os.stat(f"{volume.path}/..data/annotations").st_size > 2**20
    assert read(volume).annotations == annotations


def test_longer_than_the_kubelet_writes(volume: Volume) -> None:
    """Labels of more than 16 MiB are a fault, and take no memory; where nothing is metadata, a file like others."""
    volume.write(labels={"app": "web"}, annotations={"note": "1"})
    podinfo = source(volume)
    first = podinfo.read(NOTHING)
    volume.annotate("note", "2")
    labels = Path(volume.path, "..data", "labels")
    content = labels.read_bytes()
    os.truncate(labels, (16 << 20) + 1)
    second = podinfo.read(first)
    assert second.annotations == {"note": "2"}
    assert second.labels is first.labels
    assert [fault.partition(": ")[2] for fault in second.faults] == [
        "longer than 16 MiB, which the kubelet never writes; its last good values are kept"
    ]
    one = read(volume, kind="files").files["podinfo/labels"]
    os.truncate(labels, (16 << 20) + 2)
    assert read(volume, kind="files").files["podinfo/labels"] != one
    labels.write_bytes(content)
    assert podinfo.read(second).faults == ()


def test_ten_thousand_labels(volume: Volume) -> None:
    """10,000 labels are read."""
    labels = {f"key-{number}": str(number) for number in range(10_000)}
    volume.write(labels=labels)
    assert read(volume).labels == labels


@given(
    st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\Z"), st.binary(max_size=30), max_size=4),
    st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\Z"), st.text(max_size=30), max_size=4),
)
def test_what_was_written_is_read(labels: dict[str, bytes], annotations: dict[str, str]) -> None:
    """Any values come back, bytes that are no UTF-8 as surrogate escapes."""
    texts = {key: value.decode("utf-8", "surrogateescape") for key, value in labels.items()}
    with tempfile.TemporaryDirectory() as path:
        volume = Volume(path)
        volume.write(labels=texts, annotations=annotations)
        content = read(volume)
    assert content.labels == texts
    assert content.annotations == annotations
    assert content.faults == ()


# -- which files are metadata ----------------------------------------------------------


def test_names_that_people_use(volume: Volume) -> None:
    """Undeclared files of a downward volume are what their names say, if they have the form."""
    files = {"name": "web-1", "namespace": "lab", "uid": UID, "cpu_limit": "2", "mem_limit": "536870912"}
    volume.write(labels={}, files={**files, "cpu_request": "250", "mem_request": "0"})
    content = read(volume)
    assert content.fields == {"metadata.name": "web-1", "metadata.namespace": "lab", "metadata.uid": UID}
    assert content.resources == {
        ".limits.cpu": Resource(2),
        ".limits.memory": Resource(536870912),
        ".requests.cpu": Resource(250),
        ".requests.memory": Resource(0),
    }
    assert content.files == EMPTY
    assert all(resource.quantity is None for resource in content.resources.values())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("name", "No Name"),
        ("name", ""),
        ("name", "-a"),
        ("name", "a" * 254),
        ("name", "a\n"),
        ("namespace", "a.b"),
        ("uid", "28989a40"),
        ("uid", "x" * 36),
        ("cpu_limit", "250m"),
        ("cpu_limit", ""),
        ("cpu_limit", "-1"),
        ("cpu_limit", "٣"),
        ("cpu_limit", "9" * 5000),
        ("mem_limit", str(2**63)),
        ("sub/name", "web-1"),
        ("zone", "us-west"),
        ("binary", "\udcff\x00"),
    ],
)
def test_other_files_are_digests(volume: Volume, file: str, text: str) -> None:
    """A file that has another name, or another content than its name promises, is known by a digest alone."""
    volume.write(labels={}, files={file: text})
    content = read(volume)
    assert list(content.files) == [f"podinfo/{file}"]
    assert content.fields == content.resources == EMPTY
    assert content.faults == ()


def test_declared_items(volume: Volume) -> None:
    """A declaration says what a file is, whatever its name, and with its container and divisor."""
    items = {
        "res/cpu": Item(resource="limits.cpu", container="app", divisor=Quantity("1m")),
        "res/mem": Item(resource="requests.memory", container="side", divisor=Quantity("1Mi")),
        "bare": Item(resource="limits.memory", container="app"),
        "zone": Item(field="metadata.labels['topology.kubernetes.io/zone']"),
        "name": Item(field="metadata.uid"),
        "who": Item(field="metadata.name"),
        "all": Item(field="metadata.labels"),
    }
    files = {
        "res/cpu": "250",
        "res/mem": "512",
        "bare": "2",
        "zone": "us-west\udcff\n",
        "name": UID,
        "who": "",
    }
    volume.write(files={**files, "all": encode({"app": "web"}), "namespace": "lab"})
    content = read(volume, items)
    assert content.resources == {
        "app.limits.cpu": Resource(250, Quantity("1m")),
        "side.requests.memory": Resource(512, Quantity("1Mi")),
        "app.limits.memory": Resource(2),
    }
    assert str(content.resources["app.limits.cpu"]) == "250m"
    assert content.fields == {
        "metadata.labels['topology.kubernetes.io/zone']": "us-west\udcff\n",
        "metadata.uid": UID,
        "metadata.name": "",
        "metadata.namespace": "lab",
    }
    assert content.labels == {"app": "web"}
    assert content.files == EMPTY


def test_two_files_with_one_key(volume: Volume) -> None:
    """What was declared speaks before what is known by its name, and then the first by path, in every part."""
    items = {
        "y": Item(field="metadata.name"),
        "x": Item(field="metadata.name"),
        "z": Item(field="metadata.labels"),
    }
    files = {"y": "second", "x": "first", "name": "third", "z": encode({"app": "z", "more": "1"})}
    volume.write(labels={"app": "web", "other": "2"}, files=files)
    content = read(volume, items)
    assert content.fields == {"metadata.name": "first"}
    assert content.labels == {"app": "z", "more": "1", "other": "2"}


@pytest.mark.parametrize("which", ["labels", "annotations"])
def test_auto_is_downward_by_one_map(volume: Volume, which: str) -> None:
    """One of the two files that decodes whole is enough, and it need not be full."""
    volume.write(files={which: b"", "name": "web-1"})
    assert read(volume).fields == {"metadata.name": "web-1"}


def test_auto_is_files_without_a_map(volume: Volume) -> None:
    """A ConfigMap is digests only, even where it has a key called labels."""
    volume.write(files={"labels": "a: b\n", "name": "web-1", "app.conf": "x"})
    content = read(volume)
    assert content.files.keys() == {"podinfo/labels", "podinfo/name", "podinfo/app.conf"}
    assert content.labels == content.fields == EMPTY
    assert content.faults == ()


def test_auto_stays_downward(volume: Volume) -> None:
    """Once downward it stays so: a labels file that breaks, or goes, makes no digests of the others."""
    volume.write(labels={"a": "1"}, files={"name": "web-1"})
    podinfo = source(volume)
    content = podinfo.read(NOTHING)
    volume.write(files={"labels": "broken", "name": "web-1"})
    content = podinfo.read(content)
    assert (content.labels, content.fields) == ({"a": "1"}, {"metadata.name": "web-1"})
    volume.write(files={"name": "web-2"})
    content = podinfo.read(content)
    assert (content.labels, content.fields) == ({}, {"metadata.name": "web-2"})


def test_auto_becomes_downward(volume: Volume) -> None:
    """What was digests becomes metadata when a map first decodes."""
    volume.write(files={"labels": "broken", "name": "web-1"})
    podinfo = source(volume)
    content = podinfo.read(NOTHING)
    assert content.files.keys() == {"podinfo/labels", "podinfo/name"}
    volume.write(labels={"a": "1"}, files={"name": "web-1"})
    content = podinfo.read(content)
    assert content.files == EMPTY
    assert content.labels == {"a": "1"}
    assert content.fields == {"metadata.name": "web-1"}


def test_kind_downward(volume: Volume) -> None:
    """Said so, a volume is downward without any map, and a broken one is a fault at once."""
    volume.write(files={"labels": "broken", "name": "web-1"})
    content = read(volume, kind="downward")
    assert content.fields == {"metadata.name": "web-1"}
    assert content.files == content.labels == EMPTY
    assert len(content.faults) == 1


def test_kind_files(volume: Volume) -> None:
    """Said so, nothing is metadata, and large files are digested too."""
    volume.write(labels={"a": "1"}, files={"name": "web-1", "big": b"x" * 200_000})
    content = read(volume, {"name": Item(field="metadata.name")}, kind="files")
    assert content.files.keys() == {"podinfo/labels", "podinfo/name", "podinfo/big"}
    assert content.labels == content.fields == EMPTY


# -- digests ---------------------------------------------------------------------------


def test_digests_follow_the_content(volume: Volume) -> None:
    """Equal where contents are equal, different where one byte differs, at any size."""
    big = bytes(range(256)) * 1000
    files = {"a": b"x", "b": b"x", "c": b"y", "big": big, "big2": big, "big3": big[:-1] + b"!"}
    volume.write(files=files)
    digests = read(volume, kind="files").files
    assert digests["podinfo/a"] == digests["podinfo/b"] != digests["podinfo/c"]
    assert digests["podinfo/big"] == digests["podinfo/big2"] != digests["podinfo/big3"]


def test_digests_are_keyed(volume: Volume) -> None:
    """With another key all are different: nobody can try contents out."""
    volume.write(files={"a": b"x", "big": b"x" * 100_000})
    one = VolumeSource("v", volume.path, digest_key=b"1").read(NOTHING).files
    other = VolumeSource("v", volume.path, digest_key=b"2").read(NOTHING).files
    assert all(one[key] != other[key] for key in one)


def test_contents_never_show(volume: Volume) -> None:
    """No content of a file that isn't metadata is in a reading, a message, or the source itself."""
    volume.write(
        labels={}, files={"password": "SECRET", "name": "SECRET", "cpu": "SECRET", "map": 'a="SECRET'}
    )
    podinfo = source(volume, {"cpu": Item(resource="limits.cpu"), "map": Item(field="metadata.annotations")})
    content = podinfo.read(NOTHING)
    assert content.files.keys() == {"podinfo/password", "podinfo/name"}
    assert len(content.faults) == 2
    assert "SECRET" not in repr(content)
    assert "SECRET" not in repr([vars(podinfo), [vars_of(said) for said in podinfo._said.values()]])


def vars_of(said: object) -> dict[str, object]:
    """The attributes of an object with slots."""
    return {name: getattr(said, name) for name in type(said).__slots__}  # type: ignore[attr-defined]


# -- what is shared --------------------------------------------------------------------


def test_what_stays_is_the_same_object(volume: Volume) -> None:
    """A part in which nothing changed is shared with the reading before; a map's own bytes aren't decoded twice."""
    volume.write(
        labels={"a": "1"}, annotations={"b": "2"}, files={"name": "web-1", "x": "y", "cpu_limit": "1"}
    )
    podinfo = source(volume)
    first = podinfo.read(NOTHING)
    volume.label("a", "2")
    second = podinfo.read(first)
    assert second.labels == {"a": "2"}
    for part in ("annotations", "fields", "resources", "files"):
        assert getattr(second, part) is getattr(first, part)
    third = podinfo.read(second)
    assert third == second
    assert third.labels is second.labels


def test_equal_values_in_other_bytes_are_shared(volume: Volume) -> None:
    """The same map in another order, or with another spelling, is the same object too."""
    volume.write(files={"labels": 'a="1"\nb="\\n"', "cpu_limit": "1"})
    podinfo = source(volume)
    first = podinfo.read(NOTHING)
    volume.write(files={"labels": 'b="\\x0a"\na="1"', "cpu_limit": "01"})
    second = podinfo.read(first)
    assert second.labels is first.labels
    assert second.resources is first.resources


def test_sharing_with_another_sources_reading(volume: Volume) -> None:
    """A reading that this source didn't make is shared with as well."""
    volume.write(labels={"a": "1"}, annotations={"b": "2"}, files={"x": "y"})
    other = read(volume)
    again = read(volume)
    assert again.labels is not other.labels
    shared = source(volume).read(other)
    assert shared.labels is other.labels
    assert shared.files is other.files


def test_added_and_removed_files(volume: Volume) -> None:
    """A file that came or went changes its part alone."""
    volume.write(labels={"a": "1"}, files={"x": "1"})
    podinfo = source(volume)
    first = podinfo.read(NOTHING)
    volume.write(labels={"a": "1"}, files={"x": "1", "y": "2", "name": "web-1"})
    second = podinfo.read(first)
    assert second.files.keys() == {"podinfo/x", "podinfo/y"}
    assert second.fields == {"metadata.name": "web-1"}
    assert second.labels is first.labels
    volume.write(labels={"a": "1"}, files={"y": "2"})
    third = podinfo.read(second)
    assert third.files.keys() == {"podinfo/y"}
    assert third.fields == EMPTY
    volume.write()
    assert podinfo.read(third).labels == EMPTY


PAYLOADS = st.lists(
    st.dictionaries(
        st.sampled_from(["labels", "annotations", "name", "cpu_limit", "cpu", "x", "d/x", "d/y"]),
        st.sampled_from([b"", b"1", b"2", b"web-1", b'a="1"', b'a="2"\nb="1"', b"\xff"]),
        max_size=6,
    ),
    min_size=1,
    max_size=5,
)


@given(PAYLOADS, st.sampled_from(["auto", "downward", "files"]))
def test_memory_changes_nothing(payloads: list[dict[str, bytes]], kind: str) -> None:
    """What a source says after many readings is what a new one says at once, but for what faults keep."""
    items = {"cpu": Item(resource="limits.cpu", container="app")} if kind == "downward" else None
    with tempfile.TemporaryDirectory() as path:
        volume = Volume(path)
        podinfo = source(volume, items, kind)
        content = NOTHING
        for payload in payloads:
            volume.write(files=payload)
            before = content
            content = podinfo.read(before)
            fresh = VolumeSource("podinfo", path, kind=kind, items=items, digest_key=KEY)  # type: ignore[arg-type]
            if podinfo._downward:
                fresh._downward = True
            anew = fresh.read(NOTHING)
            assert len(content.faults) == len(anew.faults)
            for part in ("labels", "annotations", "fields", "resources", "files"):
                now, then = getattr(content, part), getattr(before, part)
                assert getattr(anew, part).items() <= now.items()
                assert content.faults or getattr(anew, part) == now
                assert now is then or now != then


# -- faults ----------------------------------------------------------------------------


def test_no_valid_quoting(volume: Volume) -> None:
    """The fault names file and line, the value before stays, and the other files go on."""
    volume.write(labels={"a": "1"}, annotations={"b": "1"}, files={"cpu": "1"})
    podinfo = source(volume, {"cpu": Item(resource="limits.cpu")})
    content = podinfo.read(NOTHING)
    volume.write(labels={"a": "2"}, files={"annotations": 'b="2"\nSECRET=3', "cpu": "SECRET"})
    content = podinfo.read(content)
    assert content.labels == {"a": "2"}
    assert content.annotations == {"b": "1"}
    assert content.resources == {".limits.cpu": Resource(1)}
    assert len(content.faults) == 2
    faults = {fault.partition(",")[0]: fault for fault in content.faults}
    assert faults[f"{volume.path}/annotations"].startswith(f"{volume.path}/annotations, line 2: ")
    assert faults[f"{volume.path}/cpu"].startswith(f"{volume.path}/cpu, line 1: no bare integer")
    assert "SECRET" not in repr(content)
    assert podinfo.read(content).faults == content.faults
    volume.write(labels={"a": "2"}, annotations={"b": "3"}, files={"cpu": "4"})
    content = podinfo.read(content)
    assert content.annotations == {"b": "3"}
    assert content.resources == {".limits.cpu": Resource(4)}
    assert content.faults == ()


def test_back_to_what_it_was(volume: Volume) -> None:
    """After a fault, the value of before is again the value, and no change."""
    volume.write(labels={"a": "1"})
    podinfo = source(volume)
    first = podinfo.read(NOTHING)
    volume.write(files={"labels": "broken"})
    second = podinfo.read(first)
    volume.write(labels={"a": "1"})
    third = podinfo.read(second)
    assert first.labels is second.labels is third.labels
    assert (len(second.faults), len(third.faults)) == (1, 0)


def test_wrong_from_the_start(volume: Volume) -> None:
    """Where there was no value before, there is none now; the fault is told all the same."""
    volume.write(annotations={"b": "1"}, files={"labels": 'a="1'})
    content = read(volume)
    assert content.labels == EMPTY
    assert content.annotations == {"b": "1"}
    assert [fault.split(",")[0] for fault in content.faults] == [f"{volume.path}/labels"]


def test_a_name_with_a_newline(volume: Volume) -> None:
    """Such a file is read like any other, and shown escaped in what is said of it."""
    items = {"odd\nname": Item(field="metadata.labels")}
    volume.write(files={"odd\nname": "broken", "other\n": "x"})
    content = read(volume, items)
    assert content.files.keys() == {"podinfo/other\n"}
    assert r"odd\nname, line 1" in content.faults[0]
    assert "\n" not in content.faults[0]


def test_a_trailing_newline(volume: Volume) -> None:
    """What a person wrote with an editor is understood: a map and a number may end with a newline."""
    volume.write(files={"labels": 'a="1"\n', "cpu": "250\n"})
    content = read(volume, {"cpu": Item(resource="limits.cpu")})
    assert content.labels == {"a": "1"}
    assert content.resources == {".limits.cpu": Resource(250)}


def test_an_unreadable_file(open_volume: Volume) -> None:
    """It says which permission is missing and keeps its value, and the other files go on."""
    volume = open_volume
    volume.write(labels={"a": "1"}, annotations={"b": "1"}, files={"d/x": "1", "d/y": "1", "z": "1"})
    podinfo = source(volume)
    first = podinfo.read(NOTHING)
    volume.write(labels={"a": "2"}, annotations={"b": "2"}, files={"d/x": "2", "d/y": "2", "z": "2"})
    os.chmod(f"{volume.path}/..data/labels", 0o000)
    os.chmod(f"{volume.path}/..data/d", 0o000)
    second = as_nobody(lambda: kept(podinfo.read(first)))
    assert second["labels"] == {"a": "1"}
    assert second["annotations"] == {"b": "2"}
    files, before = second["files"], first.files
    assert isinstance(files, dict)
    assert {key for key in files if files[key] == before[key]} == {"podinfo/d/x", "podinfo/d/y"}
    assert second["faults"] == ()
    unreadable = second["unreadable"]
    assert isinstance(unreadable, tuple) and len(unreadable) == 2
    of_labels, of_directory = sorted(unreadable, key=lambda sentence: "/labels" not in sentence)
    assert of_labels.startswith(f"{volume.path}/..data/labels: permission denied: it is a file of user")
    assert "mode 0000, so the permission to read (r) is missing" in of_labels
    assert of_directory.startswith(f"{volume.path}/..data/d: permission denied: it is a directory of user")
    assert "fsGroup" in of_labels and "fsGroup" in of_directory


def kept(content: Content) -> dict[str, object]:
    """A reading that another process may send."""
    return {
        part: dict(value) if isinstance(value := getattr(content, part), Mapping) else value
        for part in ("labels", "annotations", "files", "faults", "unreadable")
    }


@pytest.mark.parametrize(
    ("where", "mode", "need"),
    [("", 0o600, "search (x)"), ("/..data", 0o311, "read (r)"), ("/..data", 0o000, "read (r)")],
)
def test_an_unreadable_directory(open_volume: Volume, where: str, mode: int, need: str) -> None:
    """A directory that we may not enter or list says so, with its mode, its owner, and who we are."""
    volume = open_volume
    volume.write(labels={"a": "1"})
    os.chmod(volume.path + where, mode)

    def sentences() -> list[str]:
        podinfo, told = source(volume), []
        for look in (lambda: podinfo.read(NOTHING), podinfo.fingerprint):
            try:
                look()
            except SourceUnreadable as error:
                told.append(str(error))
        return told

    told = as_nobody(sentences)
    os.chmod(volume.path + where, 0o755)
    assert len(told) == (1 if where else 2)  # where ..data leads may be known without entering
    for sentence in told:
        assert sentence.startswith(f"{volume.path}/..data: permission denied") or "..2" in sentence
        assert f"mode {mode:04o}, so the permission to {need} is missing" in sentence
        assert "fsGroup" in sentence


def test_an_unreadable_plain_directory(open_volume: Volume) -> None:
    """Likewise for one that isn't swapped, and for a file in it."""
    path = Path(open_volume.path)
    path.mkdir()
    (path / "labels").write_text('a="1"')
    (path / "secret").write_text("x")
    podinfo = source(open_volume)
    first = podinfo.read(NOTHING)
    os.chmod(path / "secret", 0)
    content = as_nobody(lambda: kept(podinfo.read(first)))
    assert content["files"] == first.files
    assert f"{path}/secret: permission denied: it is a file" in str(content["unreadable"])

    def sentence() -> str:
        with pytest.raises(SourceUnreadable) as caught:
            podinfo.read(NOTHING)
        return str(caught.value)

    os.chmod(path, 0o400)
    assert "mode 0400, so the permission to search (x) is missing" in as_nobody(sentence)
    os.chmod(path, 0o100)
    assert "mode 0100" in as_nobody(sentence)
    os.chmod(path, 0o755)


# -- lost, found, plain ----------------------------------------------------------------


def test_lost_and_found(volume: Volume) -> None:
    """Not there yet, there, deleted, there again."""
    podinfo = source(volume)
    with pytest.raises(SourceLost, match="isn't there"):
        podinfo.read(NOTHING)
    with pytest.raises(SourceLost):
        podinfo.fingerprint()
    volume.write(labels={"a": "1"})
    content = podinfo.read(NOTHING)
    assert podinfo.fingerprint() == content.fingerprint
    volume.remove()
    with pytest.raises(SourceLost):
        podinfo.read(content)
    os.mkdir(volume.path)
    with pytest.raises(SourceLost, match=r"\.\.data is gone"):
        podinfo.read(content)
    volume.write(labels={"a": "2"})
    assert podinfo.read(content).labels == {"a": "2"}


def test_plain_directory(tmp_path: Path) -> None:
    """A directory without swaps works too, file by file, and says that it has none."""
    (tmp_path / "labels").write_text('a="1"')
    (tmp_path / "x").write_text("1")
    podinfo = VolumeSource("settings", str(tmp_path), digest_key=KEY)
    assert podinfo.swapped
    content = podinfo.read(NOTHING)
    assert not podinfo.swapped
    assert content.labels == {"a": "1"}
    assert content.files.keys() == {"settings/x"}
    assert content.swapped_ns is None
    assert content.fingerprint == podinfo.fingerprint()
    (tmp_path / "x").write_text("2")
    again = podinfo.read(content)
    assert again.labels is content.labels
    assert again.files != content.files
    assert again.fingerprint != content.fingerprint


def test_a_plain_directory_becomes_a_volume(volume: Volume) -> None:
    """What was empty is a volume after the kubelet's first write."""
    os.mkdir(volume.path)
    podinfo = source(volume)
    content = podinfo.read(NOTHING)
    assert not podinfo.swapped
    volume.write(labels={"a": "1"})
    content = podinfo.read(content)
    assert podinfo.swapped
    assert content.labels == {"a": "1"}
    assert content.swapped_ns is not None


def test_readings_make_exact_differences(volume: Volume) -> None:
    """Through merge and diff, one swap is exactly the changes that were made."""
    volume.write(labels={"a": "1", "b": "1"}, files={"name": "web-1", "conf": "1"})
    podinfo = source(volume)
    content = podinfo.read(NOTHING)
    before = merge([("podinfo", SourceState(), content)], Snapshot())
    volume.write(labels={"a": "2", "c": "1"}, files={"name": "web-1", "conf": "2"})
    after = merge([("podinfo", SourceState(), podinfo.read(content))], before)
    assert [(change.type, change.key, change.op) for change in diff(before, after)] == [
        ("file", "podinfo/conf", "changed"),
        ("label", "a", "changed"),
        ("label", "b", "removed"),
        ("label", "c", "added"),
    ]
