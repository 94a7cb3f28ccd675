"""Fuzzing what reads bytes that others may write: ``python -m tests.soak.fuzz`` (``make fuzz``).

Guided by coverage (atheris, which is libFuzzer), a process for each target. One line
each at the end: inputs, seconds, findings. With a finding it exits with 1 and says how
to have it again.
"""

from __future__ import annotations

import argparse
import mmap
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

INPUTS = 1_000_000
HUNG_SECONDS = 20
MEMORY_MB = 1024
"""What an input may take at most, of time and of memory; more is a finding."""


@dataclass(frozen=True)
class Result:
    """What became of one target."""

    name: str
    inputs: int
    seconds: float
    findings: tuple[Path, ...]
    """Files with the inputs that failed; libFuzzer stops at the first."""


def main() -> int:
    """Fuzz, or run one input again; 0 if nothing was found."""
    from tests.soak.targets import TARGETS  # not for all of this module: atheris has to see the import

    targets = {target.name: target for target in TARGETS}
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.fuzz", description=__doc__, allow_abbrev=False
    )
    count = f"inputs for each target ({INPUTS:,}), or the share of them that it has time for"
    parser.add_argument("--inputs", type=int, default=INPUTS, metavar="N", help=count)
    parser.add_argument("--target", choices=targets, help="only this one")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is random (1)")
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="run this input of --target, and fail as it does"
    )
    options = parser.parse_args()
    if options.again:
        if not options.target:
            parser.error("--again needs --target")
        targets[options.target].run(options.again.read_bytes())
        return 0
    chosen = [targets[options.target]] if options.target else TARGETS
    print(f"{'target':16}{'inputs':>10}{'seconds':>9}{'per second':>12}  findings", flush=True)
    total = found = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [
            pool.submit(fuzz, target.name, round(options.inputs * target.share), options.seed)
            for target in chosen
        ]
        for result in map(Future.result, waiting):
            total, found = total + result.inputs, found + len(result.findings)
            speed, findings = round(result.inputs / result.seconds), len(result.findings) or "none"
            print(
                f"{result.name:16}{result.inputs:>10,}{result.seconds:>9.0f}{speed:>12,}  {findings}",
                flush=True,
            )
            for finding in result.findings:
                print(f"    python -m tests.soak.fuzz --target {result.name} --again {finding}", flush=True)
    print(f"{'':16}{total:>10,}")
    return int(found > 0)


def fuzz(name: str, inputs: int, seed: int) -> Result:
    """Let a process of its own try so many inputs of one target, or until one fails."""
    kept = Path(tempfile.mkdtemp(prefix=f"kmetad-fuzz-{name}-"))
    counter = os.memfd_create("inputs")
    os.ftruncate(counter, mmap.PAGESIZE)
    code = f"from tests.soak.fuzz import child; child({name!r}, {inputs}, {seed}, {counter}, {str(kept)!r})"
    with tempfile.TemporaryDirectory(prefix="kmetad-fuzz-", dir=in_memory()) as room:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "TMPDIR": room},
            pass_fds=[counter],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        seconds = time.monotonic() - started
    count = int.from_bytes(os.pread(counter, 8, 0), sys.byteorder)
    os.close(counter)
    findings = tuple(sorted(kept.iterdir()))
    if not findings:
        kept.rmdir()
    if findings or done.returncode or count < inputs:
        print(done.stdout[-3000:], done.stderr[-6000:], sep="\n", file=sys.stderr)
        assert findings, f"the fuzzer itself failed: exit code {done.returncode} after {count} inputs"
    return Result(name, count, seconds, findings)


def child(name: str, inputs: int, seed: int, counter: int, kept: str) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["kmetad"]):
        from tests.soak.targets import TARGETS
    target = next(target for target in TARGETS if target.name == name)
    count = memoryview(mmap.mmap(counter, mmap.PAGESIZE)).cast("Q")

    def one(data: bytes) -> None:
        count[0] += 1
        target.run(data)

    corpus = Path(tempfile.mkdtemp())
    for number, data in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(data)
    words = Path(tempfile.mkdtemp(), "words")
    words.write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words)
    )
    limits = [
        f"-runs={inputs}",
        f"-max_len={target.longest}",
        f"-timeout={HUNG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
    ]
    atheris.Setup(
        ["fuzz", *limits, f"-seed={seed}", f"-artifact_prefix={kept}/", f"-dict={words}", str(corpus)], one
    )
    atheris.Fuzz()


def in_memory() -> str | None:
    """A place for files that are made a million times; None where there is no better one than for any file."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
