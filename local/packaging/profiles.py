"""The named profiles of a deployment (infra/profiles.json): host.json as each has it, and what is to be set beside it.

host.json ships as the profile `medium` has it. The templates read the same file for the half that is not in the
package: app settings, memory, instances that are always ready.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import ROOT
from local.stack.child import StackError

PROFILES = Path("infra", "profiles.json")
DEFAULT = "medium"
PROFILE_VARIABLE = "DORMOUSE_PROFILE"
"""The variable of azd's environment that names the profile; the templates read it, too."""
BACKEND_VARIABLE = "DORMOUSE_DURABLE_BACKEND"
"""The variable that names another durable backend than the profile's."""
BACKENDS = ("storage", "scheduler")
"""Where orchestrations are kept: queues and tables of a storage account, or the Durable Task Scheduler."""
SCHEDULER_CONNECTION = "DURABLE_TASK_SCHEDULER_CONNECTION_STRING"
"""The app setting that names the scheduler and the identity that reaches it."""

BUNDLES = {"storage": "[4.*, 5.0.0)", "scheduler": "[4.32.0, 5.0.0)"}
"""The extension bundle by backend; 4.32.0 is the first that Microsoft's documentation names for the scheduler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One profile as infra/profiles.json has it."""

    name: str
    purpose: str
    """What it is for, in a sentence."""
    driver: str
    backend: str
    """`storage` or `scheduler`."""
    hub_name: str
    """The task hub. A hub's number of partitions is fixed once it is made, so each number has a name of its own."""
    partitions: int
    """Control queues of the hub; with the scheduler there are none."""
    polling: str
    """Longest gap between two looks at an idle queue of the hub, `hh:mm:ss`. It adds to every wake."""
    orchestrators: int
    """Orchestrators at once on one instance."""
    activities: int
    """Activities at once on one instance."""
    memory: int
    """Memory of an instance in MB."""
    always_ready_http: int
    always_ready_durable: int
    settings: Mapping[str, str]
    """App settings, whatever the driver."""
    sweep: Mapping[str, Mapping[str, str]]
    """App settings by driver."""

    def app_settings(self) -> dict[str, str]:
        """What is to be set in the app, besides what every deployment sets."""
        return {"DORMOUSE_DRIVER": self.driver, **self.settings, **self.sweep[self.driver]}

    def host_json(self, content: Mapping[str, Any], backend: str | None = None) -> dict[str, Any]:
        """host.json with this profile's hub, and all else as it is.

        `content` is the host.json of any profile; `backend` is another than the profile's.
        """
        made = copy.deepcopy(dict(content))
        durable = made["extensions"]["durableTask"]
        durable["hubName"] = self.hub_name
        durable["storageProvider"] = self._storage_provider(backend or self.backend)
        durable["maxConcurrentActivityFunctions"] = self.activities
        durable["maxConcurrentOrchestratorFunctions"] = self.orchestrators
        made["extensionBundle"]["version"] = BUNDLES[backend or self.backend]
        return made

    def _storage_provider(self, backend: str) -> dict[str, Any]:
        if backend == "scheduler":
            return {"type": "azureManaged", "connectionStringName": SCHEDULER_CONNECTION}
        return {
            "type": "AzureStorage",
            "partitionCount": self.partitions,
            "maxQueuePollingInterval": self.polling,
            "controlQueueVisibilityTimeout": "00:01:00",
            "workItemQueueVisibilityTimeout": "00:01:00",
        }


def read_profiles(root: Path = ROOT) -> dict[str, Profile]:
    """The profiles by name, from the smallest on."""
    return {name: _profile(name, given) for name, given in json.loads((root / PROFILES).read_text("utf-8")).items()}


def _profile(name: str, given: Mapping[str, Any]) -> Profile:
    return Profile(
        name=name,
        purpose=given["for"],
        driver=given["driver"],
        backend=given["durableBackend"],
        hub_name=given["hubName"],
        partitions=given["partitionCount"],
        polling=given["maxQueuePollingInterval"],
        orchestrators=given["maxConcurrentOrchestratorFunctions"],
        activities=given["maxConcurrentActivityFunctions"],
        memory=given["instanceMemoryMB"],
        always_ready_http=given["alwaysReadyHttp"],
        always_ready_durable=given["alwaysReadyDurable"],
        settings=given["settings"],
        sweep=given["sweep"],
    )


def find_profile(name: str, root: Path = ROOT) -> Profile:
    """The profile of a name; an empty one is the default. Raises ``StackError``."""
    found = read_profiles(root)
    if (name or DEFAULT) not in found:
        raise StackError(f"there is no profile {name!r}; those of {PROFILES.as_posix()} are {', '.join(found)}")
    return found[name or DEFAULT]


def host_json_of(folder: Path, profile: Profile, backend: str | None = None) -> str:
    """What host.json of a folder is under a profile. Raises ``StackError`` when it has no host.json."""
    try:
        content = json.loads((folder / "host.json").read_text("utf-8"))
        return json.dumps(profile.host_json(content, backend), indent=2) + "\n"
    except (OSError, ValueError, KeyError) as error:
        raise StackError(f"host.json of {folder} cannot be read: {error!r}") from error


def profile_in(content: Mapping[str, Any], root: Path = ROOT) -> tuple[Profile, str] | None:
    """The profile and the backend that a host.json has; None: it is that of none."""
    for profile in read_profiles(root).values():
        for backend in BACKENDS:
            with suppress(KeyError):
                if profile.host_json(content, backend) == content:
                    return profile, backend
    return None


def report(profile: Profile, backend: str) -> str:
    """What is to be set beside the package, for the person: as `az` takes it."""
    settings = [f"{name}={value}" for name, value in profile.app_settings().items()]
    if backend == "scheduler":
        settings.append(f'"{SCHEDULER_CONNECTION}=Endpoint=<endpoint>;Authentication=ManagedIdentity;ClientID=<id>"')
    ready = [
        f"{group}={count}"
        for group, count in (("http", profile.always_ready_http), ("durable", profile.always_ready_durable))
        if count
    ]
    scale = f"az functionapp scale config set -g <group> -n <app> --instance-memory {profile.memory}"
    lines = [
        f"host.json is that of the profile {profile.name} (backend: {backend}, hub: {profile.hub_name}).",
        "An app that `azd` has made gets the rest from it. For another:",
        "  az functionapp config appsettings set -g <group> -n <app> --settings \\",
        *(f"    {each} \\" for each in settings[:-1]),
        f"    {settings[-1]}",
        f"  {scale}",
    ]
    if ready:
        command = "az functionapp scale config always-ready set -g <group> -n <app> --settings"
        lines.append(f"  {command} {' '.join(ready)}")
    return "\n".join(lines)


def use_profile(options: argparse.Namespace) -> int:
    """Write host.json of the working copy as a profile has it; without a name, as the environment's profile has it."""
    profile = find_profile(options.name or os.environ.get(PROFILE_VARIABLE, ""))
    backend = options.backend or chosen_backend(os.environ.get(BACKEND_VARIABLE, "")) or profile.backend
    (ROOT / "host.json").write_text(host_json_of(ROOT, profile, backend), "utf-8")
    print(report(profile, backend), flush=True)
    return 0


def chosen_backend(name: str) -> str | None:
    """The backend that a variable names; None where it is empty. Raises ``StackError``."""
    if name and name not in BACKENDS:
        raise StackError(f"{BACKEND_VARIABLE} must be {' or '.join(BACKENDS)}, not {name!r}")
    return name or None
