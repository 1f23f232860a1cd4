"""The HTTP triggers of ``function_app.py``, as a contract names them."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any
from unittest import mock

from local import ROOT

NOT_IN_CONTRACT = (
    *("zz_not_found", "v1_base", "v1_zz_not_found", "shared_zz_not_found", "v1_azure"),
    *("home", "ui", "ui_page"),
)
"""Triggers for whatever is below an address (what is not there, and other ways to write what is), and the page."""

_WITH_ALL = {
    "DORMOUSE_API_KEYS": f"name:{'0' * 16}",
    "DORMOUSE_RUN_TOKEN_SECRET": "0" * 32,
    "OPENAI_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
}
"""Settings without which some routes are as good as not there."""
_PARAMETER = re.compile(r"\{(?P<name>\w+):regex\((?P<pattern>(?:\{\{|\}\}|[^{}])*)\)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One HTTP trigger. ``parameters`` are those of its path, each with the pattern that it must fit."""

    function: str
    methods: tuple[str, ...]
    path: str
    parameters: tuple[tuple[str, str], ...]
    open: bool
    """Whether anybody may call it, by whatever setting."""

    @property
    def method(self) -> str:
        """The method that it is documented under; HEAD goes without saying where GET works."""
        (method,) = (method for method in self.methods if method != "HEAD")
        return method.lower()


@functools.cache
def triggers() -> dict[str, Trigger]:
    """The triggers by function name, as they are with function keys and all settings; those of the contract alone."""
    with mock.patch.dict(os.environ):
        os.environ.pop("DORMOUSE_AUTH", None)
        os.environ.update(_WITH_ALL)
        spec = importlib.util.spec_from_file_location("function_app_for_the_contract", ROOT / "function_app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    found = [(each.get_function_name(), each.get_trigger().get_dict_repr()) for each in module.app.get_functions()]
    return {
        name: _trigger(name, trigger)
        for name, trigger in found
        if trigger["type"] == "httpTrigger" and name not in NOT_IN_CONTRACT
    }


def _trigger(name: str, trigger: dict[str, Any]) -> Trigger:
    route = trigger["route"]
    parameters = tuple(
        (match["name"], match["pattern"].replace("{{", "{").replace("}}", "}")) for match in _PARAMETER.finditer(route)
    )
    return Trigger(
        function=name,
        methods=tuple(str(getattr(method, "value", method)) for method in trigger["methods"]),
        path="/" + _PARAMETER.sub(r"{\g<name>}", route),
        parameters=parameters,
        open=str(getattr(trigger["authLevel"], "value", trigger["authLevel"])).lower() == "anonymous",
    )
