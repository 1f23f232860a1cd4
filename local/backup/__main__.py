"""`dev.py backup` and `dev.py restore`.

The storage is the one that `AzureWebJobsStorage` or `DORMOUSE_TABLE_SERVICE_URI` names, as for the app; or --account.
By an account's name it is reached as who is signed in with the Azure CLI, who needs *Storage Table Data Contributor*.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from local.backup import copying
from local.backup.files import NoBackup, NotEmpty
from shared import settings, wiring
from shared.errors import Misconfigured
from shared.runs.store.tables import StoreUnavailable, Tables


def main() -> int:
    """Read the command line, do it; 0 when it is done, 1 when it cannot be, 2 for a wrong command line."""
    top = argparse.ArgumentParser(prog="dev.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = top.add_subparsers(required=True, dest="what", metavar="backup|restore")
    for name, text in (("backup", "copy all rows into a folder"), ("restore", "write them back")):
        command = commands.add_parser(name, help=text, description=__doc__, formatter_class=top.formatter_class)
        command.add_argument("folder", type=Path, help="new or empty for a backup")
        command.add_argument("--account", metavar="NAME", help="the storage account that holds the rows")
        command.add_argument("--prefix", help="of the tables' names (default: DORMOUSE_TABLE_PREFIX, else dormouse)")
    commands.choices["restore"].add_argument("--again", action="store_true", help="the tables may have rows already")
    options = top.parse_args()
    try:
        return asyncio.run(_run(options))
    except (NoBackup, NotEmpty, StoreUnavailable, Misconfigured, OSError) as error:
        print(f"dev.py {options.what}: {error}", file=sys.stderr)
        return 1


async def _run(options: argparse.Namespace) -> int:
    tables = _tables(options)
    try:
        if options.what == "backup":
            summary = await copying.back_up(tables, options.folder)
            print(f"backup: {_counted(summary.rows)} in {options.folder}")
        else:
            summary, made = await copying.restore(tables, options.folder, again=options.again)
            print(f"restore: {_counted(summary.rows)}, as they were from {summary.begun_at} to {summary.ended_at}")
            print(f"restore: {made} more due rows, so that everything that was under way is looked at")
            print("restore: an app of another name, or prefix, needs DORMOUSE_APP_NAME (docs/operations.md)")
        return 0
    finally:
        await tables.close()


def _tables(options: argparse.Namespace) -> Tables:
    """The tables as they are, whatever is encrypted in them."""
    named = dict(os.environ)
    if options.account:
        named["DORMOUSE_TABLE_SERVICE_URI"] = f"https://{options.account}.table.core.windows.net"
    if options.prefix:
        named["DORMOUSE_TABLE_PREFIX"] = options.prefix
    return wiring.open_tables(settings.load(named))


def _counted(rows: object) -> str:
    assert isinstance(rows, dict)
    return ", ".join(f"{count:,} rows of {table}" for table, count in rows.items())


if __name__ == "__main__":
    sys.exit(main())
