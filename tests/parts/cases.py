"""Many cases of one test, without a test for each."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Test = Callable[..., Any]


def cases(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test for each of these rows, written as for ``pytest.mark.parametrize``, as one test.

    For functions that are asked and answer: what pytest does around a test takes longer than they do. All rows are
    tried, and those that fail are named. A test that takes fixtures is not for this: its rows would share them.
    """
    parameters = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    every = [dict(zip(parameters, (row,) if names == parameters[0] else row, strict=True)) for row in rows]
    if not every:
        raise ValueError("no row, no test")

    def decorated(test: Test) -> Test:
        if set(inspect.signature(test).parameters) != set(parameters):
            raise TypeError(f"{test.__name__} takes something else than {parameters}")

        @contextlib.contextmanager
        def noted(given: dict[str, Any], failed: list[Exception]) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                error.add_note(f"with {given}")
                failed.append(error)

        def finish(failed: list[Exception]) -> None:
            if failed:
                raise ExceptionGroup(f"{len(failed)} of {len(every)} rows", failed)

        def run() -> None:
            failed: list[Exception] = []
            for given in every:
                with noted(given, failed):
                    test(**given)
            finish(failed)

        async def run_async() -> None:
            failed: list[Exception] = []
            for given in every:
                with noted(given, failed):
                    await test(**given)
            finish(failed)

        made: Test = functools.wraps(test)(run_async if inspect.iscoroutinefunction(test) else run)
        del made.__wrapped__  # type: ignore[attr-defined]  # pytest would look there for fixtures
        return made

    return decorated
