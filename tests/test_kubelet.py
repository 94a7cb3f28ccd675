"""kmetad.testing.kubelet: held to what a real kubelet was seen to do."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kmetad.testing
from kmetad.testing.kubelet import ServiceAccountVolume, Volume, encode, quote, token

DATA = Path(__file__).parent / "data"
CASES = sorted(path.name.removesuffix(".write.json") for path in DATA.glob("atomicwriter/*.write.json"))
linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify and strace are Linux's")


def recorded(case: str, kind: str) -> Path:
    """One file of a recorded case."""
    return DATA / "atomicwriter" / f"{case}.{kind}"


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """The kubelet's umask, which is what directories inside a generation are made with."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume that isn't there yet."""
    return Volume(tmp_path / "podinfo")


# --- the recorded cases -----------------------------------------------------------------------


def mapped_id(recorded_id: int, own: int) -> int:
    """Only root may give files away; to anybody else the recorded ids stand for their own."""
    return recorded_id if os.geteuid() == 0 else own


def replay(volume: Volume, case: str, prepare: bool = True) -> bool:
    """Do what was done in a recorded case, to a volume that is as the case before left it."""
    if prepare and case.startswith("07-"):
        os.unlink(f"{volume.path}/labels")
    if prepare and case.startswith("10-"):
        volume.leave_stale_tmp()
    if prepare and case.startswith("11-"):
        volume.clear_stale_tmp()
    request = json.loads(recorded(case, "write.json").read_text())["request"]
    volume.mode = request.pop("mode", 0o644)
    group, user = request.pop("fs_group", None), request.pop("fs_user", None)
    volume.fs_group = None if group is None else mapped_id(group, os.getegid())
    volume.fs_user = None if user is None else mapped_id(user, os.geteuid())
    return volume.write(**request)


def replay_until(volume: Volume, case: str) -> None:
    """Bring the volume where it was when ``case`` was recorded."""
    for earlier in CASES[: CASES.index(case)]:
        try:
            replay(volume, earlier)
        except FileExistsError:
            assert earlier.startswith("10-")


Event = tuple[str, str]

FLAGS = {
    0x1: "ACCESS",
    0x2: "MODIFY",
    0x4: "ATTRIB",
    0x8: "CLOSE_WRITE",
    0x10: "CLOSE_NOWRITE",
    0x20: "OPEN",
    0x40: "MOVED_FROM",
    0x80: "MOVED_TO",
    0x100: "CREATE",
    0x200: "DELETE",
    0x400: "DELETE_SELF",
    0x800: "MOVE_SELF",
    0x8000: "IGNORED",
    0x4000_0000: "ISDIR",
}
EVERYTHING = 0xFFF
ONLYDIR = 0x1000000


def by_jsonl(case: str) -> list[Event]:
    """The events as a reader of inotify(7) of its own recorded them."""
    lines = [json.loads(line) for line in recorded(case, "inotify-dironly.jsonl").read_text().splitlines()]
    return [(",".join(line["events"]), line["name"]) for line in lines if "events" in line]


def by_inotifywait(case: str) -> list[Event]:
    """The same as inotifywait(1) recorded them; it says CLOSE beside CLOSE_NOWRITE."""
    events = []
    for line in recorded(case, "inotifywait.txt").read_text().splitlines():
        _, _, flags, *name = line.split()
        events.append((flags.replace(",CLOSE", ""), "".join(name)))
    return events


class Inotify:
    """A watch for everything on one directory, read once all has happened: the kernel queues at once."""

    def __init__(self, directory: str) -> None:
        from watchdog.observers.inotify_c import inotify_add_watch, inotify_init

        self._descriptor = inotify_init()
        os.set_blocking(self._descriptor, False)
        inotify_add_watch(self._descriptor, os.fsencode(directory), EVERYTHING | ONLYDIR)

    def events(self) -> list[Event]:
        """All that happened; each event's flags and name. Nothing is left open."""
        return [(flags, name) for flags, name, _ in self.events_and_cookies()]

    def events_and_cookies(self) -> list[tuple[str, str, int]]:
        data = b""
        try:
            while True:
                data += os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            os.close(self._descriptor)
        events = []
        while data:
            _, mask, cookie, length = struct.unpack_from("iIII", data)
            name = data[16 : 16 + length].rstrip(b"\0").decode()
            events.append((",".join(flag for bit, flag in FLAGS.items() if mask & bit), name, cookie))
            data = data[16 + length :]
        return events


def settled(events: list[Event], old: str) -> list[Event]:
    """The events without what differs from run to run; ``old`` is the generation before.

    - Generations' names hold the time and a random number.
    - The kernel merges an event with an equal one before it that nobody has read yet, so
      how many ACCESS there are, say, is the reader's timing.
    - Go goes through maps in random order: links come and go in any order.
    - fsGroup's storm takes the directory's entries in the file system's order.
    """
    events = [
        (flags, "..old" if name == old else "..new" if re.match(r"\.\.\d{4}_", name) else name)
        for flags, name in events
    ]
    if ("ATTRIB,ISDIR", "") in events:
        end = events.index(("ATTRIB,ISDIR", ""))
        start = max(n for n in range(end) if events[n] == ("CLOSE_NOWRITE,ISDIR", ""))
        events[start + 1 : end] = sorted(events[start + 1 : end], key=lambda event: event[1])
    ordered: list[Event] = []
    for (flags, _), run in groupby(events, lambda event: (event[0], event[1].startswith(".."))):
        same = list(run)
        ordered += sorted(same) if flags in ("CREATE", "DELETE") else same
    return [event for event, _ in groupby(ordered)]


@linux
@pytest.mark.parametrize("case", CASES)
def test_recorded_events(volume: Volume, case: str) -> None:
    """Each recorded write gives a watcher of the directory the events that it gave then."""
    replay_until(volume, case)
    os.makedirs(volume.path, exist_ok=True)
    old = volume.generation
    number = CASES.index(case)
    old_then = (
        json.loads(recorded(CASES[number - 1], "write.json").read_text())["result"]["data"] if number else ""
    )
    if case.startswith("07-"):
        os.unlink(f"{volume.path}/labels")
    if case.startswith("10-"):
        volume.leave_stale_tmp()
    if case.startswith("11-"):
        volume.clear_stale_tmp()

    inotify = Inotify(volume.path)
    try:
        replay(volume, case, prepare=False)
    except FileExistsError:
        assert case.startswith("10-")
    events = settled(inotify.events(), old)

    assert events == settled(by_jsonl(case), old_then)
    assert events == settled(by_inotifywait(case), old_then)


@pytest.mark.parametrize("case", CASES)
def test_recorded_results(volume: Volume, case: str) -> None:
    """Each recorded write swaps, swaps not, or fails as it did then."""
    result = json.loads(recorded(case, "write.json").read_text())["result"]
    replay_until(volume, case)
    before = volume.generation
    if "error" in result:
        with pytest.raises(FileExistsError, match="File exists: .*data_tmp"):
            replay(volume, case)
        assert volume.generation == before
    else:
        assert replay(volume, case) is result["wrote"]
        assert (volume.generation != before) is result["wrote"]


LISTED = re.compile(
    r"(?P<mode>[dl-]\S+) \d+ +(?P<user>\d+) +(?P<group>\d+) +(?P<size>\d+) \S+ \S+ \S+ (?P<name>.+)"
)


def listed_then(case: str) -> dict[str, tuple[str, ...]]:
    """What ``ls -laR`` showed after a case, by path: mode, owner, group, size of a file, target of a link."""
    generation = json.loads(recorded(case, "write.json").read_text())["result"]["data"]
    listed: dict[str, tuple[str, ...]] = {}
    folder = ""
    for line in recorded(case, "ls-after.txt").read_text().replace(generation, "..generation").splitlines():
        if line.startswith("/etc/podinfo"):
            folder = line.removesuffix(":").removeprefix("/etc/podinfo").removeprefix("/")
        elif (match := LISTED.fullmatch(line)) and match["name"] != "..":
            name, _, target = match["name"].partition(" -> ")
            path = os.path.normpath(os.path.join(folder, name))
            user = mapped_id(int(match["user"]), os.geteuid())
            group = mapped_id(int(match["group"]), os.getegid())
            size = match["size"] if match["mode"].startswith("-") else ""
            listed[path] = (match["mode"], str(user), str(group), size, target)
    return listed


def listed_now(volume: Volume) -> dict[str, tuple[str, ...]]:
    """The same of the volume as it is."""
    listed: dict[str, tuple[str, ...]] = {}
    generation = volume.generation
    for path in (Path(volume.path), *Path(volume.path).rglob("*")):
        found = path.lstat()
        name = str(path.relative_to(volume.path)).replace(generation, "..generation")
        target = os.readlink(path).replace(generation, "..generation") if path.is_symlink() else ""
        size = str(found.st_size) if stat.S_ISREG(found.st_mode) else ""
        listed[name] = (stat.filemode(found.st_mode), str(found.st_uid), str(found.st_gid), size, target)
    return listed


@linux
@pytest.mark.parametrize("case", CASES)
def test_recorded_listings(volume: Volume, case: str) -> None:
    """After each recorded write the directory holds what it held then: modes, owners, sizes, targets."""
    replay_until(volume, case)
    try:
        replay(volume, case)
    except FileExistsError:
        assert case.startswith("10-")
    assert listed_now(volume) == listed_then(case)


@linux
def test_rename_is_one_move(volume: Volume) -> None:
    """MOVED_FROM ``..data_tmp`` and MOVED_TO ``..data`` carry one cookie: it is one rename."""
    volume.write(labels={"app": "a"})
    inotify = Inotify(volume.path)
    volume.label("app", "b")
    cookies = {flags: (name, cookie) for flags, name, cookie in inotify.events_and_cookies() if cookie}
    assert set(cookies) == {"MOVED_FROM", "MOVED_TO"}
    assert cookies["MOVED_FROM"][1] == cookies["MOVED_TO"][1]
    assert cookies["MOVED_TO"][0] == "..data"


# --- the recorded system calls ----------------------------------------------------------------

Call = tuple[str, ...]

CALL = re.compile(r"\d+ +(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)(?:<.*?>)?(?: (?P<error>E\w+))?.*")
STATS = {"stat", "lstat", "fstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"}
AS_ONE = {"mkdirat": "mkdir", "symlinkat": "symlink", "readlinkat": "readlink", "getdents64": "list"}
AS_ONE |= {"fchmodat": "chmod", "fchmodat2": "chmod", "openat": "open", "unlinkat": "unlink"}
AS_ONE |= {"renameat": "rename", "renameat2": "rename"}
NOISE = {"O_NONBLOCK", "O_DIRECTORY", "O_LARGEFILE"}
"""What opendir(3) adds when the C library lists a directory; Go's lists without it."""


def calls_of(trace: str, root: str) -> list[Call]:
    """The calls of a trace that concern the volume at ``root``, in one form whoever made them.

    ``mkdir`` and ``mkdirat`` are one thing, and paths are relative to the volume, whether
    they came with a directory's descriptor or not. The stat(2) family is left out: it
    changes nothing and wakes no watcher, and each language's library asks as it likes.
    """
    calls: list[Call] = []
    opened: dict[
        str, str
    ] = {}  # the recording has bare descriptors; ``strace -y`` says what they are open for
    for line in trace.splitlines():
        match = CALL.fullmatch(line)
        if match is None or match["name"] in STATS:
            continue
        name = AS_ONE.get(match["name"], match["name"])
        args = re.sub(r"AT_FDCWD(<.*?>)?, ", "", match["args"])
        descriptor = re.match(r"(\d+)(?:<(.*?)>)?,", args)
        base = (descriptor[2] or opened.get(descriptor[1], "")) if descriptor else ""
        texts = re.findall(r'"([^"]*)"', args)
        words = re.findall(r"\b(?:[A-Z]+_[\w|]+|0\d+)", re.sub(r'"[^"]*"|<.*?>', "", args))

        if name == "symlink":
            texts.reverse()  # its target comes first
        if name == "unlink" and "AT_REMOVEDIR" in words:
            name = "rmdir"
        if name == "open":
            words[0] = "|".join(flag for flag in words[0].split("|") if flag not in NOISE)
        elif name not in ("mkdir", "chmod"):
            words = []
        paths = [os.path.join(base, text) for text in texts] or [base]
        if name == "open":
            opened[match["result"]] = paths[0]
        if f"{paths[0]}/".startswith(f"{root}/"):
            paths = [path.removeprefix(root).removeprefix("/") for path in paths]
            calls.append((name, *paths, *words, match["error"] or ""))
    return calls


def write_of(calls: list[Call]) -> tuple[list[Call], list[Call]]:
    """The calls of one write, up to the old generation's removal, and those of its removal.

    Names of generations become ``..old`` and ``..new``, and equal calls in a row one, since
    a directory's listing takes as many as the buffer makes it. Within the old directory
    the file system says in which order names are listed, so these are sorted by the name
    at its top, each with the calls below it in their order.
    """
    old = next(path for name, path, *_ in calls if name == "list")
    new = next(path for name, path, *_ in calls if name == "mkdir")
    renamed = [tuple(part.replace(old, "..old").replace(new, "..new") for part in call) for call in calls]
    merged = [call for call, _ in groupby(renamed)]
    start = next(n for n, call in enumerate(merged) if call[:2] == ("unlink", "..old"))
    removal = merged[start:]
    first = next(n for n, call in enumerate(removal) if call[1].startswith("..old/"))
    last = max(n for n, call in enumerate(removal) if call[1].startswith("..old/"))
    removal[first : last + 1] = sorted(removal[first : last + 1], key=lambda call: call[1].split("/")[1])
    return merged[:start], removal


CHILD = """
import os, sys
from kmetad.testing.kubelet import Volume
volume = Volume(sys.argv[1])
files = {"cpu_limit": "250", "mem/limit": "64"}
volume.write(labels={"app": "web", "zone": "us-west"}, annotations={"note": "hello"}, files=files)
os.access("/now-it-begins", os.F_OK)
volume.write(labels={"app": "web", "zone": "us-east"}, files={"cpu_limit": "250"})
"""


@linux
def test_recorded_system_calls(tmp_path: Path) -> None:
    """One changed write makes the system calls that the AtomicWriter was recorded to make, in their order."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace isn't installed")
    trial = subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        pytest.skip(f"strace can't trace here: {trial.stderr.strip()}")

    root, trace = tmp_path / "podinfo", tmp_path / "trace"
    subprocess.run(
        [
            *[strace, "-f", "-y", "-s", "4096", "-e", "trace=%file,getdents64,fchmod,fchown"],
            *["-o", str(trace), sys.executable, "-c", CHILD, str(root)],
        ],
        check=True,
        cwd=Path(kmetad.testing.__file__).parents[2],
    )
    ours = write_of(calls_of(trace.read_text().rpartition("/now-it-begins")[2], str(root)))

    then = calls_of(recorded("02-changed-value", "strace.txt").read_text(), "run/vol")
    assert then[-1][:2] == ("readlink", "..data")  # the recorder says where it ended up
    theirs = write_of(then[:-1])

    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert [call[0] for call in theirs[0]].count("rename") == 1  # what is compared is a swap


# --- quoting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("nasty/*.annotations")))
def test_recorded_quoting(name: str) -> None:
    """Hostile values come out in the bytes that Kubernetes wrote for them."""
    truth = json.loads((DATA / "nasty" / f"{name}.truth-b64.json").read_text())
    texts = {key: base64.b64decode(value).decode(errors="surrogateescape") for key, value in truth.items()}
    assert encode(texts) == (DATA / "nasty" / f"{name}.annotations").read_bytes()


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", b'""'),
        ("\udcff\udc80", rb'"\xff\x80"'),  # no UTF-8
        ("\udcc3\udca9", '"é"'.encode()),  # escapes that are UTF-8 together
        ("\udced\udca0\udc80", rb'"\xed\xa0\x80"'),  # a surrogate encoded is no UTF-8 to Go either
        ("\x7f\x80\xa0\xad", rb'"\x7f\u0080\u00a0\u00ad"'),
        ("\u2028\u3000\ufeff", rb'"\u2028\u3000\ufeff"'),
        ("\ufffd", '"\ufffd"'.encode()),  # the replacement character itself is printable
        ("\U000e0001\U0010ffff", rb'"\U000e0001\U0010ffff"'),
        ("a'b", b'"a\'b"'),
    ],
)
def test_quoting(text: str, quoted: bytes) -> None:
    """strconv.Quote's rules that the recordings don't show."""
    assert quote(text) == quoted


ESCAPE = re.compile(
    rb'\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([abfnrtv\\"]))|([^"\\\x00-\x1f\x7f])', re.DOTALL
)


def unquote(quoted: bytes) -> bytes:
    """The bytes that a Go compiler would read; nothing but what Quote may write is taken."""

    def meaning(match: re.Match[bytes]) -> bytes:
        byte, short, long, letter, plain = match.groups()
        if byte is not None:
            return bytes([int(byte, 16)])
        if letter is not None:
            return dict(zip(b'abfnrtv\\"', b'\a\b\f\n\r\t\v\\"', strict=True))[letter[0]].to_bytes(1, "big")
        return plain if plain is not None else chr(int(short or long, 16)).encode()

    assert quoted[:1] == quoted[-1:] == b'"'
    inside = quoted[1:-1]
    assert b"".join(match[0] for match in ESCAPE.finditer(inside)) == inside
    return ESCAPE.sub(meaning, inside)


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_quoting_loses_nothing(value: bytes) -> None:
    """Whatever the bytes, Go reads them back from their quoting."""
    assert unquote(quote(value.decode(errors="surrogateescape"))) == value


def test_quoting_refuses_what_no_go_string_holds() -> None:
    """A surrogate that escapes no byte is an error, not a guess."""
    with pytest.raises(UnicodeEncodeError):
        quote("\ud800")


def test_keys_are_sorted_by_bytes() -> None:
    """Lines come in the order of the keys' bytes, with no newline at the end."""
    assert encode({"b": "2", "a/z": "1", "a-z": "0", "Z": "3"}) == b'Z="3"\na-z="0"\na/z="1"\nb="2"'


# --- the volume as a tool ---------------------------------------------------------------------


def contents(volume: Volume) -> dict[str, bytes]:
    """The files of the generation in force."""
    data = Path(volume.path, "..data").resolve()
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_changes_merge_into_the_last_payload(volume: Volume) -> None:
    """Single changes leave the rest as it is, and None removes."""
    volume.write(labels={"app": "web", "tier": "gold"}, files={"cpu_limit": "250"})
    assert volume.label("app", "db")
    assert volume.label("tier", None)
    assert volume.annotate("note", "hello")
    assert volume.file("mem/limit", b"64")
    assert volume.file("cpu_limit", None)
    assert contents(volume) == {"labels": b'app="db"', "annotations": b'note="hello"', "mem/limit": b"64"}
    assert volume.update(labels={"app": None}, annotations={"note": "bye"}, files={"cpu_limit": "1"})
    assert contents(volume) == {
        "labels": b"",
        "annotations": b'note="bye"',
        "mem/limit": b"64",
        "cpu_limit": b"1",
    }
    assert volume.payload == contents(volume)


def test_write_is_the_whole_payload(volume: Volume) -> None:
    """What a write doesn't name is gone; no labels is no file, and an empty map a file of no bytes."""
    volume.write(labels={"app": "web"}, annotations={"note": "hello"}, files={"mem/limit": "64"})
    volume.write(labels={})
    assert contents(volume) == {"labels": b""}
    assert sorted(name for name in os.listdir(volume.path) if not name.startswith("..")) == ["labels"]


def test_same_change_twice_swaps_once(volume: Volume) -> None:
    """A write answers whether it swapped."""
    assert volume.label("app", "web")
    generation = volume.generation
    assert not volume.label("app", "web")
    assert not volume.label("other", None)
    assert volume.generation == generation


def test_lost_file_is_a_change(volume: Volume) -> None:
    """The disk is what is compared, not the memory: a file somebody removed is written again."""
    volume.write(labels={"app": "web"})
    os.unlink(f"{volume.path}/..data/labels")
    assert volume.sync()
    assert contents(volume) == {"labels": b'app="web"'}


def test_file_stands_in_for_the_mapping(volume: Volume) -> None:
    """A test can put bytes into ``labels`` that no kubelet writes, and take them out again."""
    volume.write(labels={"app": "web"})
    volume.file("labels", b'app="web')
    assert contents(volume) == {"labels": b'app="web'}
    volume.file("labels", None)
    assert contents(volume) == {"labels": b'app="web"'}


def test_big_file(volume: Volume) -> None:
    """A mebibyte arrives whole."""
    volume.write(annotations={"big": "x" * (1 << 20)})
    assert contents(volume)["annotations"] == b'big="%b"' % (b"x" * (1 << 20))


def test_modes_in_spite_of_the_umask(volume: Volume) -> None:
    """The generation is 0755 and files have their mode, whatever the writer's umask."""
    os.umask(0o077)
    volume.write(labels={"app": "web"})
    assert stat.S_IMODE(os.stat(f"{volume.path}/..data").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(f"{volume.path}/labels").st_mode) == 0o644
    volume.mode = 0o400
    volume.label("app", "db")
    assert stat.S_IMODE(os.stat(f"{volume.path}/labels").st_mode) == 0o400


def test_stale_tmp_fails_every_write_until_it_goes(volume: Volume) -> None:
    """While ``..data_tmp`` is left behind nothing gets through; then the last payload does."""
    volume.write(labels={"app": "a"})
    volume.leave_stale_tmp()
    for value in ("b", "c"):
        with pytest.raises(FileExistsError):
            volume.label("app", value)
    assert contents(volume) == {"labels": b'app="a"'}
    volume.clear_stale_tmp()
    assert volume.sync()
    assert contents(volume) == {"labels": b'app="c"'}


def test_many_swaps_leave_one_generation(volume: Volume) -> None:
    """Each swap clears away the generation before it, and each generation has a name of its own."""
    seen = set()
    for number in range(500):
        volume.write(labels={"n": str(number)}, files={"mem/limit": str(number)})
        seen.add(volume.generation)
    assert len(seen) == 500
    assert sorted(os.listdir(volume.path)) == sorted([volume.generation, "..data", "labels", "mem"])


def test_swap_is_timed(volume: Volume) -> None:
    """``swapped_ns`` lies within the write that swapped, and an unchanged write leaves it."""
    assert volume.swapped_ns == 0
    before = time.monotonic_ns()
    volume.label("app", "web")
    swapped = volume.swapped_ns
    assert before <= swapped <= time.monotonic_ns()
    volume.sync()
    assert volume.swapped_ns == swapped


def test_remove_and_come_back(volume: Volume) -> None:
    """Pod teardown leaves no directory; it may be torn down twice, and a write makes it again."""
    assert volume.generation == ""
    volume.write(labels={"app": "web"}, files={"mem/limit": "64"})
    volume.remove()
    assert not os.path.lexists(volume.path)
    volume.remove()
    assert volume.sync()
    assert contents(volume) == {"labels": b'app="web"', "mem/limit": b"64"}


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume may be named relative to the working directory, removed with it too."""
    monkeypatch.chdir(tmp_path)
    volume = Volume("podinfo")
    volume.label("app", "web")
    volume.label("app", "db")
    assert (tmp_path / "podinfo" / "labels").read_bytes() == b'app="db"'
    volume.remove()
    assert os.listdir(tmp_path) == []


def test_another_writer_goes_on(volume: Volume) -> None:
    """A second writer of the same directory starts from what it finds there, broken files included."""
    volume.write(
        labels={"app": "é\udcff"}, annotations={"a": "b"}, files={"annotations": b"?", "mem/limit": "64"}
    )
    other = Volume(volume.path)
    assert other.payload == volume.payload
    assert not other.sync()
    assert other.label("tier", "gold")
    assert contents(volume) == {
        "labels": 'app="é\\xff"\ntier="gold"'.encode(),
        "annotations": b"?",
        "mem/limit": b"64",
    }


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..data",
        "..",
        "a/../b",
        "a//b",
        "a/./b",
        "a/",
        "n" * 256,
        "/".join(["n" * 99] * 50),
    ],
)
def test_refused_paths(volume: Volume, path: str) -> None:
    """Paths that Kubernetes refuses are refused, and nothing is written."""
    with pytest.raises(ValueError, match="no path in a volume"):
        volume.file(path, "x")
    assert not os.path.lexists(volume.path)


@pytest.mark.parametrize("path", [".dot", "a/..b", "a b\nc", "n" * 255])
def test_allowed_paths(volume: Volume, path: str) -> None:
    """Dotfiles, names with a newline and long ones are allowed; ``..`` counts at the front only."""
    assert volume.file(path, "x")
    assert contents(volume) == {path: b"x"}


def test_failed_write_leaves_nothing(volume: Volume) -> None:
    """A write that fails half-way takes its new directory away again."""
    volume.write(labels={"app": "web"})
    with pytest.raises(FileExistsError):
        volume.update(labels={"app": "db"}, files={"a": "a file", "a/b": "and a directory"})
    assert sorted(os.listdir(volume.path)) == sorted([volume.generation, "..data", "labels"])
    assert contents(volume) == {"labels": b'app="web"'}


# --- the service account ----------------------------------------------------------------------


def claims(text: str) -> dict[str, Any]:
    """The claims of a token, after a look at its form (RFC 7519)."""
    header, payload, signature = text.split(".")
    assert "=" not in text and len(base64.urlsafe_b64decode(signature + "==")) == 256
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == "RS256"
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return found


def test_token_of_a_projected_volume() -> None:
    """What is asked for is in the claims, where Kubernetes puts it."""
    found = claims(
        token(expires=1795410107.9, audiences=["lab"], namespace="shop", service_account="app", pod="web-0")
    )
    assert found["exp"] == 1795410107
    assert found["aud"] == ["lab"]
    assert found["sub"] == "system:serviceaccount:shop:app"
    assert found["kubernetes.io"]["pod"]["name"] == "web-0"
    assert "warnafter" not in found["kubernetes.io"]
    assert claims(token(expires=2, warn_after=1))["kubernetes.io"]["warnafter"] == 1


def test_default_token() -> None:
    """By default it lasts for a year, with a warning after 3607 s; no two are equal."""
    found = claims(token())
    assert found["exp"] - found["iat"] == 365 * 24 * 3600
    assert found["kubernetes.io"]["warnafter"] - found["iat"] == 3607
    assert token(expires=1) != token(expires=1)


def test_service_account_volume(tmp_path: Path) -> None:
    """The first token brings CA and namespace along; the next ones change nothing but the token."""
    account = ServiceAccountVolume(tmp_path / "serviceaccount", namespace="shop")
    assert account.rotate()
    first = contents(account)
    assert set(first) == {"token", "ca.crt", "namespace"}
    assert first["namespace"] == b"shop"
    assert claims(first["token"].decode())["kubernetes.io"]["namespace"] == "shop"

    account.file("ca.crt", "another")
    mine = token(expires=12345)
    assert account.rotate(mine)
    assert contents(account) == {"token": mine.encode(), "ca.crt": b"another", "namespace": b"shop"}
    assert not account.rotate(mine)


# --- the door ---------------------------------------------------------------------------------


def test_door() -> None:
    """kmetad.testing offers what it lists, and imports it only when asked: pytest loads it everywhere."""
    for name in kmetad.testing.__all__:
        assert getattr(kmetad.testing, name)
    assert dir(kmetad.testing) == kmetad.testing.__all__
    assert kmetad.testing.Volume is Volume
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = kmetad.testing.nothing
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, kmetad.testing; assert 'kmetad.testing.kubelet' not in sys.modules",
        ],
        check=True,
    )
    assert repr(Volume("x")) == "Volume('x')"
