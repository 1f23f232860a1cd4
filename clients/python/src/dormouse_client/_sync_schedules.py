"""What a client does with schedules: requests that become runs again and again."""

from __future__ import annotations

from typing import Any

from dormouse_client._arguments import Missed, ScheduleOrId, given, query, schedule_path, schedule_request
from dormouse_client._steps import Request
from dormouse_client._sync_client import SyncClient
from dormouse_client.contract import MessageBody, Schedule, ScheduleList


class Schedules(SyncClient):
    """The part of a client that is about schedules."""

    def create_schedule(
        self,
        input: str | list[MessageBody],
        *,
        cron: str,
        time_zone: str | None = None,
        missed: Missed | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Schedule:
        """Have a request run again and again, and return the schedule.

        Args:
            cron: Minute, hour, day of the month, month, day of the week; with six fields the second in front.
            time_zone: Whose local times these are, such as `Europe/Berlin`; UTC unless it is given.
            missed: What becomes of times that nobody was there for: `skip` (nothing) or `once` (one run for all).
            fields: As for `submit`: `agent`, `model`, `title`, `metadata`, `deadline_seconds`, `limits`, and so on.
        """
        asked = {"input": input, "cron": cron, "time_zone": time_zone, "missed": missed, **fields}
        return self._body(Schedule, schedule_request(asked, key=idempotency_key))

    def schedules(self, *, limit: int | None = None, cursor: str | None = None) -> ScheduleList:
        """A page of your schedules; `next_cursor`, where it is there, is the `cursor` of the next."""
        return self._body(ScheduleList, Request("GET", "/api/schedules", query(limit=limit, cursor=cursor)))

    def schedule(self, schedule: ScheduleOrId) -> Schedule:
        """The schedule as it stands: what comes next, and what became of the time that came last."""
        return self._body(Schedule, Request("GET", schedule_path(schedule)))

    def change_schedule(
        self,
        schedule: ScheduleOrId,
        *,
        cron: str | None = None,
        time_zone: str | None = None,
        missed: Missed | None = None,
        paused: bool | None = None,
    ) -> Schedule:
        """Change when it runs, from now on; pause it, or let it go on. What is not given stays as it is."""
        changed = given(cron=cron, time_zone=time_zone, missed=missed, paused=paused)
        return self._body(Schedule, Request("PATCH", schedule_path(schedule), body=changed))

    def delete_schedule(self, schedule: ScheduleOrId) -> None:
        """Delete it: no further run begins. Those that it has begun stay."""
        self._nothing(Request("DELETE", schedule_path(schedule)))
