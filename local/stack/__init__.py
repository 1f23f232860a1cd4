"""The processes of a development machine: Azurite, the scripted model, the functions host.

`dev.py run` and the tests start the same classes. Standard library only, because `dev.py` imports this
before any virtual environment exists.
"""

from local.stack.child import Child, StackError, free_port, free_ports, http_status, machine_environment, port_is_free
from local.stack.node import AzuriteInstall, NodeTools, find_azurite, find_node, npm_environment
from local.stack.parts import (
    WELL_KNOWN_PORTS,
    Azurite,
    FunctionsHost,
    ScriptedModel,
    TraceReceiver,
    choose_ports,
    connection_string,
)

__all__ = [
    "WELL_KNOWN_PORTS",
    "Azurite",
    "AzuriteInstall",
    "Child",
    "FunctionsHost",
    "NodeTools",
    "ScriptedModel",
    "StackError",
    "TraceReceiver",
    "choose_ports",
    "connection_string",
    "find_azurite",
    "find_node",
    "free_port",
    "free_ports",
    "http_status",
    "machine_environment",
    "npm_environment",
    "port_is_free",
]
