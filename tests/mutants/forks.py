"""Tries mutants: the tests are collected once, and each mutant has a fork of that process, with the tests to ask.

A mutant in a function takes the place of the function's code. One that is seen only when its module is loaded (a table,
a constant, a default) has the app's modules and the tests loaded anew in its fork.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest

from local import ROOT
from tests.mutants.changes import Mutant

PATIENCE = 20
"""Seconds of a processor beside what the tests take that a mutant has: one that goes on for ever is found by that."""

_KILLED, _SURVIVED, _BROKEN = 0, 3, 4
_PROCESSES = frozenset({"rig", "rigs"})
_OWN = ("shared", "local", "tests", "function_app")

Lines = set[tuple[str, int]]


class Coverage:
    """Which test comes by which line of some files, and how long it takes."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = {str(ROOT / file): file for file in files}
        self._seen: Lines = set()
        self.tests: dict[str, Any] = {}

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        self._seen.add((self._files[frame.f_code.co_filename], frame.f_lineno))
        return self._line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch a test, and what its fixtures do."""
        self._seen = set()
        began = time.perf_counter()
        threading.settrace(self._call)
        sys.settrace(self._call)
        try:
            return (yield)  # type: ignore[return-value]
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            took = time.perf_counter() - began
            self.tests[item.nodeid] = {"seconds": took, "lines": sorted(self._seen)}


class Pure:
    """Leaves out the tests that need a process of the app, and what hypothesis makes up.

    That is another thing each time, and no mutant is to be found by chance.
    """

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that are quick and the same each time."""
        items[:] = [each for each in items if not each.get_closest_marker("hypothesis") and not _has_process(each)]


def _has_process(item: pytest.Item) -> bool:
    return bool(_PROCESSES & set(getattr(item, "fixturenames", ())))


class Trial(Pure):
    """A plugin that runs no test itself: its forks do, one for the coverage and one for each mutant."""

    def __init__(self, mutants: Sequence[Mutant], jobs: int = 1) -> None:
        self.mutants = mutants
        self.survivors: list[Mutant] = []
        self.tests = 0
        self.unwell = ""
        self._jobs = jobs
        self._tried = 0
        self._at_work: dict[int, Mutant] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Everything there is to do, once the tests are collected."""
        if session.testsfailed:
            self.unwell = "tests cannot be collected"
            return True
        seen = _covered_in_fork(session, sorted({each.file for each in self.mutants}))
        if seen is None or seen["failed"]:
            self.unwell = "tests fail without a mutant"
            return True
        tests = {name: test for name, test in seen["tests"].items() if test["lines"]}
        in_order = sorted(tests, key=lambda name: tests[name]["seconds"])
        lines = {name: {(file, line) for file, line in tests[name]["lines"]} for name in in_order}
        self.tests = len(tests)
        items = {item.nodeid: item for item in session.items}
        for mutant in self.mutants:
            wanted = {(mutant.file, line) for line in mutant.lines}
            # When a module is loaded no test comes by: it may matter to each that comes by another line of the file.
            asked = [name for name in in_order if lines[name] & wanted]
            if mutant.function is None:
                asked = [name for name in in_order if any(file == mutant.file for file, _ in lines[name])]
            seconds = sum(tests[name]["seconds"] for name in asked)
            self._at_work[_begin(session, mutant, [items[name] for name in asked], seconds)] = mutant
            if len(self._at_work) >= self._jobs:
                self._wait_for_one()
        while self._at_work:
            self._wait_for_one()
        self.survivors.sort(key=self.mutants.index)
        return True

    def _wait_for_one(self) -> None:
        child, status = os.wait()
        mutant = self._at_work.pop(child)
        self._tried += 1
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _KILLED
        if code == _BROKEN:
            self.unwell = f"cannot be tried: {mutant.file}: {mutant.name}"
        if code == _SURVIVED:
            self.survivors.append(mutant)
            print(f"  {mutant.file}: {mutant.name}", file=sys.stderr, flush=True)
        if self._tried % 50 == 0:
            text = f"  {self._tried} of {len(self.mutants)} mutants, {len(self.survivors)} survive"
            print(text, file=sys.stderr, flush=True)


def _begin(session: pytest.Session, mutant: Mutant, asked: list[pytest.Item], seconds: float) -> int:
    """A fork in which these tests are run with the mutant; its exit code says whether it has survived them."""
    child = os.fork()
    if child:
        return child
    code = _BROKEN
    try:
        code = _tried(session, mutant, asked, seconds)
    finally:
        os._exit(code)


def _tried(session: pytest.Session, mutant: Mutant, asked: list[pytest.Item], seconds: float) -> int:
    _silence(session)
    most = PATIENCE + int(2 * seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    signal.alarm(20 * most)  # it may also wait for ever; the machine may have other work besides
    if mutant.function is None:
        _load_anew(mutant)
        return _SURVIVED if all(map(_passes_anew, _files(asked))) else _KILLED
    replace_code(mutant)
    return _KILLED if _fails(session, asked) else _SURVIVED


def _covered(session: pytest.Session, files: Sequence[str]) -> dict[str, Any]:
    coverage = Coverage(files)
    session.config.pluginmanager.register(coverage)
    failed = _fails(session, session.items, at_once=False)
    return {"failed": failed, "tests": coverage.tests}


def _fails(session: pytest.Session, items: Sequence[pytest.Item], *, at_once: bool = True) -> bool:
    for index, item in enumerate(items):
        following = items[index + 1] if index + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if at_once and session.testsfailed:
            return True
    return bool(session.testsfailed)


def _covered_in_fork(session: pytest.Session, files: Sequence[str]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        child = os.fork()
        if child == 0:
            try:
                _silence(session)
                answer.write_text(json.dumps(_covered(session, files)))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return json.loads(answer.read_text()) if answer.exists() else None


def _silence(session: pytest.Session) -> None:
    session.config.pluginmanager.unregister(name="terminalreporter")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def replace_code(mutant: Mutant) -> None:
    """Let the function of the mutant have its code, wherever it was imported to."""
    module = sys.modules[_module_name(mutant.file)]
    assert mutant.function is not None
    _function(module, mutant.function).__code__ = _code(
        compile(mutant.source, str(ROOT / mutant.file), "exec"), mutant.function
    )


def _function(module: ModuleType, name: str) -> FunctionType:
    found: Any = module
    for part in name.split("."):
        found = vars(found)[part]
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    assert isinstance(found, FunctionType), name
    return found


def _code(code: CodeType, name: str) -> CodeType:
    for each in code.co_consts:
        if isinstance(each, CodeType) and name == each.co_qualname:
            return each
        if isinstance(each, CodeType) and name.startswith(f"{each.co_qualname}."):
            return _code(each, name)
    raise LookupError(name)


def _load_anew(mutant: Mutant) -> None:
    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            return compile(mutant.source, str(ROOT / mutant.file), "exec")

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, path: object, target: object = None) -> Any:
            if fullname != _module_name(mutant.file):
                return None
            file = str(ROOT / mutant.file)
            return importlib.util.spec_from_file_location(fullname, file, loader=Loader(fullname, file))

    sys.meta_path.insert(0, Finder())


def _files(items: Sequence[pytest.Item]) -> list[str]:
    """The files of these tests, first that with most of them: one at a time, as most mutants are found by the first."""
    return [file for file, _ in Counter(item.nodeid.partition("::")[0] for item in items).most_common()]


def _passes_anew(file: str) -> bool:
    for name in [*sys.modules]:
        if name.partition(".")[0] in _OWN and not name.startswith("tests.mutants"):
            del sys.modules[name]
    arguments = ["-x", "-q", "-p", "no:cacheprovider", file]
    return pytest.main(arguments, plugins=[Pure()]) == pytest.ExitCode.OK


def _module_name(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")
