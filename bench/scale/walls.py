"""What bounds the app: how much of each thing so many runs want in a second, and how much there is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bench.counted import Counted
from bench.prices import ACCOUNT_REQUESTS, ACTIVITY, CORES, EPISODE, PARTITION_ENTITIES
from local.packaging.profiles import Profile
from shared.drivers.handing_out import POLLS_A_SECOND
from shared.runs.store.due import PARTITIONS
from shared.settings import Settings

EPISODE_SECONDS = 0.03
"""That an episode holds one of the places for orchestrators. Fitted: see `tests/unit/bench/test_scale.py`."""
LOOK_SECONDS = 0.3
"""That a look at the provider takes, and holds a slot. Assumed."""
INSTANCES = 40
"""`maximumInstanceCount` of infra/main.bicep."""


@dataclass(frozen=True, slots=True)
class Wall:
    """Something of which there is only so much a second."""

    name: str
    used: float
    most: float
    unit: str

    @property
    def share(self) -> float:
        """How much of it is used: above 1 the runs wait for it."""
        return self.used / self.most


def part(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:,.0f} %" if share >= 1 else f"{100 * share:.2g} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A deployment."""

    profile: Profile
    driver: str
    counted: Counted
    instances: int = INSTANCES
    separate_accounts: bool = False
    """Whether rows and task hub have an account each."""
    provider_requests: float = math.inf
    """A second, that the provider's rate limit admits."""

    @property
    def cores(self) -> float:
        """Of an instance; a Python process takes no more than one."""
        return min(CORES[self.profile.memory], 1.0)

    @property
    def look_seconds(self) -> float:
        """Processor time of a look."""
        return self.counted.wake_seconds if self.driver == "durable" else 1 / self.counted.looks_a_second

    def look_transactions(self, looks: float) -> float:
        """Of the rows, by one of so many looks a second."""
        if self.driver == "durable":
            return self.counted.wake_transactions
        # Another process polls what is handed out, and has to read the run.
        return self.counted.swept_transactions + (looks > self.inline)

    @property
    def inline(self) -> float:
        """Looks a second that a sweep makes by itself; more it hands out."""
        return float(Settings.model_fields["sweep_concurrency"].default * POLLS_A_SECOND)

    @property
    def hub_transactions(self) -> float:
        """Of the task hub, by look."""
        return EPISODE * (self.counted.wake_executions - 1) + ACTIVITY if self.driver == "durable" else 0.0

    def walls(self, looks: float, runs: float) -> Iterator[Wall]:
        """All of them where so many looks, and begins and ends of runs, fall into a second."""
        rows = looks * self.look_transactions(looks) + runs * self.counted.run_transactions
        hub = (looks + 2 * runs) * self.hub_transactions
        if self.driver == "durable":
            # A control queue is worked by one instance at a time.
            places = self.profile.orchestrators * min(self.profile.partitions, self.instances)
            episodes = places / EPISODE_SECONDS
            yield Wall("orchestrators at once", looks * (self.counted.wake_executions - 1), episodes, "episodes/s")
            at_work = self.profile.activities * self.instances / LOOK_SECONDS
            yield Wall("activities at once", looks, at_work, "looks/s")
        else:
            yield Wall("due rows' partitions", looks, PARTITION_ENTITIES * len(PARTITIONS), "entities/s")
        yield Wall("requests to the provider at once", looks, self.slots * self.instances / LOOK_SECONDS, "looks/s")
        yield Wall("processors", looks * self.look_seconds, self.cores * self.instances, "cores")
        if self.separate_accounts:
            yield Wall("the rows' account", rows, ACCOUNT_REQUESTS, "requests/s")
            yield Wall("the hub's account", hub, ACCOUNT_REQUESTS, "requests/s")
        else:
            yield Wall("the storage account", rows + hub, ACCOUNT_REQUESTS, "requests/s")
        if self.provider_requests < math.inf:
            yield Wall("the provider's rate limit", looks + runs, self.provider_requests, "requests/s")

    @property
    def slots(self) -> int:
        """Requests to the provider at once, of an instance."""
        return int(self.profile.settings["DORMOUSE_PROVIDER_CONCURRENCY"])
