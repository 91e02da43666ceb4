"""Run azure-servicebus' own tests, of the version that is installed, against the broker, and say which fail and why.

    python servicebus_sandbox/tests/sdk/run.py [--workers 2] [--timeout 400] [--record] [test files ...]

Their tests come from the package's source distribution, which pip downloads into build/sdk-tests; nothing of them is
committed. `expected.json` says which fail and why.
`--record` writes servicebus_sandbox/tests/sdk/RESULTS.md. Linux only: every worker needs a
loopback address of its own (127.0.0.2, 127.0.0.3 ...), whose port 5671 must be free.

Exit codes: 0 all is as expected; 1 something else fails or passes; 2 the tests could not be had.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "sdk-tests"
EXPECTED = HERE / "expected.json"
RESULTS = HERE / "RESULTS.md"

PACKAGE = "azure-servicebus"

#: What is not run.
LEFT_OUT = {
    "test_sessions.py": "sessions",
    "async_tests/test_sessions_async.py": "sessions",
    "test_topic.py": "topics",
    "async_tests/test_topic_async.py": "topics",
    "test_subscriptions.py": "subscriptions",
    "async_tests/test_subscriptions_async.py": "subscriptions",
    "mgmt_tests": "the administration client",
    "perf_tests": "no tests: they measure",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a test: `passed`, `failed` or `skipped`, and the last line that says why."""

    file: str
    name: str
    outcome: str
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run azure-servicebus' own tests against the broker.")
    parser.add_argument("files", nargs="*", help="test files, below their folder tests; default: all that can be run")
    parser.add_argument("--workers", type=int, default=2, help="tests at the same time (default: 2)")
    parser.add_argument("--timeout", type=int, default=400, help="seconds for one test (default: 400; some wait 300)")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}; needs a run of all files")
    given = parser.parse_args(arguments)
    if given.record and given.files:
        parser.error("--record needs a run of all files")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    release = version(PACKAGE)
    try:
        tests = fetch(release)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"Error: the tests of {PACKAGE} {release} could not be had: {error}; nothing was run")
        return 2
    results = run(tests, given.files, given.workers, given.timeout)
    reasons: Mapping[str, str] = json.loads(EXPECTED.read_text())
    surprises = judge(results, reasons, everything=not given.files)
    for line in surprises:
        say(line)
    if given.record:
        RESULTS.write_text(table(results, reasons, release))
    say(", ".join(f"{count} {outcome}" for outcome, count in Counter(one.outcome for one in results).items()))
    return 1 if surprises or not results else 0


def say(line: str) -> None:
    """Tell whoever called make, if they still listen."""
    try:
        print(line, flush=True)  # noqa: T201 - a command line
    except BrokenPipeError:
        # Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fetch(release: str) -> Path:
    """Download the source distribution unless it is there, and return its folder of tests."""
    name = f"{PACKAGE.replace('-', '_')}-{release}"
    tests = BUILD / name / "tests"
    if not tests.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, "--dest"]
        subprocess.run([*pip, str(BUILD), f"{PACKAGE}=={release}"], check=True)
        with tarfile.open(BUILD / f"{name}.tar.gz") as archive:
            members = [one for one in archive if one.name.startswith(f"{name}/tests/")]
            archive.extractall(BUILD, members, filter="data")
    return tests


def run(tests: Path, files: Sequence[str], workers: int, timeout: int) -> list[Result]:
    """Run test files, all that can be by default, and return what came of each test."""
    report = BUILD / "report.xml"
    report.unlink(missing_ok=True)
    left_out = [f"--ignore={tests / path}" for path in LEFT_OUT]
    chosen = [str(tests / file) for file in files] or [str(tests), *left_out]
    options = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function", "junit_family=xunit1"]
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tests), "-p", "shim", "-q"]
    command += [part for option in options for part in ("-o", option)]
    # Their conftest.py and their helpers are found from their folder.
    command += [
        "-n",
        str(workers),
        "--dist=worksteal",
        f"--timeout={timeout}",
        "--disable-warnings",
        "--tb=line",
        f"--junitxml={report}",
    ]
    paths = os.pathsep.join((str(ROOT), str(HERE)))
    with subprocess.Popen([*command, *chosen], cwd=tests, env=os.environ | {"PYTHONPATH": paths}) as running:
        try:
            running.wait()
        finally:
            running.terminate()
    return read(report)


def read(report: Path) -> list[Result]:
    """Read what came of each test from a JUnit report; there is none where nothing was run."""
    cases = ET.parse(report).iter("testcase") if report.exists() else ()  # noqa: S314 - pytest wrote it
    return sorted(map(result, cases), key=lambda one: (one.file, one.name))


def result(case: ET.Element) -> Result:
    """Read what came of a test from its element of a JUnit report."""
    outcomes = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    found = next((element for element in case if element.tag in outcomes), None)
    text = "" if found is None else (found.get("message") or "").strip().partition("\n")[0]
    outcome = "passed" if found is None else outcomes[found.tag]
    # The attribute `file` names the file of their decorators.
    parts = case.get("classname", "").split(".")
    folders = [part for part in parts if not part.startswith("Test")]
    classes = [part for part in parts if part.startswith("Test")]
    return Result(f"{'/'.join(folders)}.py", "::".join([*classes, case.get("name", "")]), outcome, text)


def key(one: Result) -> str:
    """Name a test as expected.json does; the transport, of which there is one, is left out."""
    return f"{one.file}::{one.name.replace('[pyamqp]', '').replace('[pyamqp-', '[').replace('-pyamqp]', ']')}"


def judge(results: Sequence[Result], reasons: Mapping[str, str], *, everything: bool) -> list[str]:
    """Say what is not as expected: what fails without a reason, and what passes or is gone with one."""
    outcomes = {key(one): one for one in results}
    fails = [f"FAILED  {name}  {one.text}" for name, one in outcomes.items() if one.outcome == "failed"]
    lines = [line for line in fails if line.split()[1] not in reasons]
    for name in reasons:
        if name in outcomes and outcomes[name].outcome != "failed":
            lines.append(f"{outcomes[name].outcome.upper()}  {name}  is expected to fail: take it out of expected.json")
        elif name not in outcomes and everything:
            lines.append(f"MISSING  {name}  is in expected.json")
    return lines


def table(results: Sequence[Result], reasons: Mapping[str, str], release: str) -> str:
    """Write the results down: the numbers by file, then what failed and why."""
    counts: dict[str, Counter[str]] = {}
    for one in results:
        counts.setdefault(one.file, Counter())[one.outcome] += 1
    total = sum(counts.values(), Counter[str]())
    lines = [
        f"# The tests of {PACKAGE} {release} against the broker",
        "",
        "Written by `python servicebus_sandbox/tests/sdk/run.py --record`; the client is as installed, over TLS.",
        "",
        "| file | passed | failed | skipped |",
        "|---|---|---|---|",
    ]
    for name, count in [*counts.items(), ("**all**", total)]:
        lines.append(f"| {name} | {count['passed']} | {count['failed']} | {count['skipped']} |")
    lines += ["", "| failed | why |", "|---|---|"]
    lines += [f"| {key(one)} | {reasons.get(key(one), one.text)} |" for one in results if one.outcome == "failed"]
    lines += ["", "| skipped | why |", "|---|---|"]
    lines += [f"| {key(one)} | {one.text} |" for one in results if one.outcome == "skipped"]
    lines += ["", "Not run, as the broker has nothing of the kind:", ""]
    lines += [f"- {path}: {why}" for path, why in LEFT_OUT.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
