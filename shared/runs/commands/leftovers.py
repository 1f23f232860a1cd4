"""What a submit has written beside a run or a batch that never came to be."""

from __future__ import annotations

from shared.runs.ports import Ports
from shared.runs.store.due import DueRow


async def remove_leftovers_of_run(ports: Ports, due: DueRow) -> bool:
    """Remove the parts of a run that was never written. False when it may yet be written.

    The due row itself is left to the caller.
    """
    parts = await ports.runs.parts(due.run_id)
    # A submit that is sent again announces itself before it writes anything else. So while the due row is as it was,
    # nothing was written since the rows were read; and what is written from now on has another ETag and stays.
    if not await is_unchanged(ports, due):
        return False
    for part in parts:
        await ports.runs.remove_part(part)
    return True


async def is_unchanged(ports: Ports, due: DueRow) -> bool:
    """Whether nobody has written the due row since it was read."""
    current = await ports.due.get(due.run_id)
    return current is not None and current.etag == due.etag
