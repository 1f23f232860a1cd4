"""Dormouse on the command line.

python -m dormouse_client submit "A story, please." --watch

The app's address is --url or DORMOUSE_URL, its key --key or DORMOUSE_KEY; whoever was given a run token has that as
--token or DORMOUSE_TOKEN. Who runs the app has --operator-key or DORMOUSE_OPERATOR_KEY for `ops`. Ctrl-C never stops a
run: it goes on, and the line that is printed then comes back to it.

Exit codes: 0 it completed (or the call did what it should); 1 it ended otherwise; 2 the command line is wrong; 3 the
app refused or could not be reached; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from dormouse_client import _operator, _owner_data
from dormouse_client._arguments import is_final
from dormouse_client._steps import is_outage
from dormouse_client._sync import Dormouse
from dormouse_client._terminal import Terminal
from dormouse_client.contract import VERSION, Batch, Run
from dormouse_client.errors import DormouseError, InvalidArgument

IN_ENVIRONMENT = ("DORMOUSE_KEY", "DORMOUSE_TOKEN")
DONE, ENDED_BADLY, MISUSED, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130


class Command:
    """One call of the program."""

    def __init__(self, client: Dormouse, options: argparse.Namespace, terminal: Terminal, *, has_token: bool) -> None:
        self._client = client
        self._has_token = has_token
        self._options = options
        self._terminal = terminal

    def submit(self) -> int:
        """Start a run; with --watch or --wait to its end."""
        options = self._options
        run = self._client.submit(
            sys.stdin.read() if options.text == "-" else options.text,
            agent=options.agent,
            model=options.model,
            session_id=options.session,
            stream=options.watch or None,
            title=options.title,
            metadata=pairs(options.metadata),
            deadline_seconds=options.deadline,
            start_at=options.start_at,
            callback_url=options.callback_url,
            idempotency_key=self._key(),
        )
        # First of all: from here on a Ctrl-C must be able to say how to come back.
        self._terminal.goes_on(run["id"], "watch")
        if options.watch:
            return self._watch(run)
        if options.wait:
            return self._wait(run)
        return self._show(run)

    def get(self) -> int:
        """Show a run or a batch."""
        name = self._options.id
        return self._show(self._client.get_batch(name) if is_batch(name) else self._client.get(name))

    def watch(self) -> int:
        """Watch a run, or wait for a batch."""
        check_writable(self._options.out)
        name = self._options.id
        self._terminal.goes_on(name, "watch")
        return self._wait_batch(name) if is_batch(name) else self._watch(name)

    def answer(self) -> int:
        """Approve or refuse calls."""
        options = self._options
        answer: dict[str, Any] = {"approve": options.approve}
        if options.reason is not None:
            answer["reason"] = options.reason
        return self._show(self._client.answer(options.id, dict.fromkeys(options.calls, answer)))

    def cancel(self) -> int:
        """Cancel a run or a batch."""
        name = self._options.id
        self._show(self._client.cancel_batch(name) if is_batch(name) else self._client.cancel(name))
        return DONE

    def batch(self) -> int:
        """Run the inputs of a file."""
        options = self._options
        check_writable(options.out)
        batch = self._client.submit_batch(
            options.file,
            agent=options.agent,
            model=options.model,
            metadata=pairs(options.metadata),
            deadline_seconds=options.deadline,
            concurrency=options.concurrency,
            callback_url=options.callback_url,
            idempotency_key=self._key(),
        )
        self._terminal.goes_on(batch["id"], "watch")
        return self._show(batch) if options.no_wait else self._wait_batch(batch)

    def items(self) -> int:
        """Write the items of a batch, one JSON object a line."""
        for item in self._client.batch_items(self._options.id):
            self._terminal.write(json.dumps(item, ensure_ascii=False) + "\n")
        return DONE

    def ops(self) -> int:
        """An operator's call: lists as lines of JSON, all else as one object."""
        if self._options.call in _operator.OF_OWNERS:
            return self._of_owner()
        request = _operator.request_of(self._options)
        if self._options.call in _operator.LISTS:
            for row in self._client._pages(request.path, limit=100):
                self._terminal.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            self._terminal.show(self._client._body(dict, request))
        return DONE

    def _of_owner(self) -> int:
        """Export or erase what is stored of an owner."""
        options = self._options
        _operator.check_owner_call(options)

        def ask(cursor: str) -> dict[str, Any]:
            return self._client._body(dict, _operator.owner_request(options, cursor))

        if options.call == "export":
            folder = _owner_data.Folder(options.argument, options.owner, options.url)
            if folder.is_resumed:
                self._terminal.say("It was cut off, and goes on.")
            done = _owner_data.export(folder, ask, self._terminal.counts)
            wrong = done["unreadable"]
        else:
            if not options.yes:
                self._terminal.confirm(options.owner)
            done = {"owner": options.owner, **_owner_data.erase(ask, self._terminal.counts)}
            wrong = done["failed"]
        self._terminal.show(done)
        if options.call == "erase":
            is_empty = _owner_data.is_nothing_left(done)
            left = "The same again says what is left." if any(done["remaining"].values()) else ""
            self._terminal.say("Nothing is left." if is_empty else f"Erased. {left}".strip())
        if wrong:
            self._terminal.say(f"{len(wrong)} could not be {'read' if options.call == 'export' else 'erased'}.")
        return ENDED_BADLY if wrong else DONE

    def _key(self) -> str:
        key: str = self._options.idempotency_key or secrets.token_hex(16)
        self._terminal.is_sent(key)
        return key

    def _watch(self, run: Run | str) -> int:
        last: Run | None = None
        for view in self._client.watch(run, on_outage=self._terminal.outage):
            self._terminal.view(view, with_text=not self._options.json)
            last = view.run
        # None: it had ended, and so had the stream.
        return self._ended(last or self._client.get(run))

    def _wait(self, run: Run) -> int:
        run = self._client.wait(run, on_progress=self._terminal.progress, on_outage=self._terminal.outage)
        if not self._options.json:
            self._terminal.write(run["text"] + "\n")
        return self._ended(run)

    def _wait_batch(self, batch: Batch | str) -> int:
        done = self._client.wait_batch(batch, on_progress=self._terminal.batch, on_outage=self._terminal.outage)
        with self._terminal.output(self._options.out) as out:
            # A token opens the batch and not its items.
            for each in [done] if self._has_token else self._client.batch_items(done):
                out.write(json.dumps(each, ensure_ascii=False) + "\n")
        counts = done["counts"]
        return DONE if counts["completed"] == counts["total"] else ENDED_BADLY

    def _ended(self, run: Run) -> int:
        self._terminal.end(run)
        if self._options.json:
            self._terminal.show(run)
        return DONE if run["status"] == "completed" else ENDED_BADLY

    def _show(self, one: Run | Batch) -> int:
        self._terminal.show(one)
        return ENDED_BADLY if is_final(one) and one["status"] != "completed" else DONE


def is_batch(name: str) -> bool:
    """Whether this is the id of a batch."""
    return name.startswith("batch_")


def check_writable(path: str | None) -> None:
    """Before anything begins: results that took hours must have somewhere to go. Raises ``InvalidArgument``."""
    if path is None:
        return
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise InvalidArgument(f"{path} cannot be written. Give the name of a file in a folder that is there.")


def pairs(given: Sequence[str] | None) -> dict[str, str] | None:
    """`name=value`, each as it was given. Raises ``InvalidArgument``."""
    if not given:
        return None
    split = [each.partition("=") for each in given]
    if wrong := [name for name, equals, _ in split if not (name and equals)]:
        raise InvalidArgument(f"--metadata takes name=value, not {wrong[0]!r}.")
    return {name: value for name, _, value in split}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    about, _, codes = (__doc__ or "").partition("\n\n")
    top = argparse.ArgumentParser(
        prog="python -m dormouse_client",
        description=about,
        epilog=codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"dormouse-client {VERSION}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=getattr(Command, name))
        command.add_argument("--url", help="address of the app, without /api (else DORMOUSE_URL)")
        command.add_argument("--key", help="its function key (else DORMOUSE_KEY, which no list of processes shows)")
        command.add_argument("--token", help="a run token in place of the key (else DORMOUSE_TOKEN)")
        command.add_argument("--on-behalf-of", metavar="USER", help="id of the user whom the call is made for")
        return command

    def add_asked(command: argparse.ArgumentParser) -> None:
        command.add_argument("--agent", help="which agent (default: the app's own)")
        command.add_argument("--model", help="which model, of those that the agent allows")
        command.add_argument("--metadata", action="append", metavar="NAME=VALUE", help="may be repeated")
        command.add_argument("--deadline", type=float, metavar="SECONDS", help="when it must be done")
        command.add_argument("--callback-url", metavar="URL", help="where the app tells of the end")
        command.add_argument("--idempotency-key", metavar="KEY", help="the same key gives the same one for 24 hours")

    command = add("submit", "start a run")
    command.add_argument("text", help="the input; - reads it from the standard input")
    add_asked(command)
    command.add_argument("--session", metavar="ID", help="the conversation that it goes on with")
    command.add_argument("--start-at", metavar="TIME", help="when it is to start, such as 2026-12-01T06:00:00Z")
    command.add_argument("--title", help="what lists call it")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="write its text as it is written, to its end")
    how.add_argument("--wait", action="store_true", help="wait for its end, then write its text")
    command.add_argument("--json", action="store_true", help="write the whole run as JSON, not its text alone")

    command = add("get", "show a run or a batch as JSON")
    command.add_argument("id", help="id of the run or batch")

    command = add("watch", "watch a run, or wait for a batch, from now to its end")
    command.add_argument("id", help="id of the run or batch")
    command.add_argument("--json", action="store_true", help="write the whole run as JSON, not its text alone")
    command.add_argument("--out", metavar="FILE", help="of a batch: where its items go (default: the standard output)")

    command = add("answer", "approve or refuse calls that a run asks about")
    command.add_argument("id", help="id of the run")
    command.add_argument("calls", nargs="+", metavar="CALL", help="id of a call in the run's required_action")
    verdict = command.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--approve", action="store_true")
    verdict.add_argument("--refuse", action="store_false", dest="approve")
    command.add_argument("--reason", help="what the model reads")

    command = add("cancel", "cancel a run or a batch")
    command.add_argument("id", help="id of the run or batch")

    command = add("batch", "run the inputs of a file, and write what became of each as a line of JSON")
    command.add_argument("file", help=".jsonl (an item a line), .txt (a text a line) or .csv (a column `input`)")
    add_asked(command)
    command.add_argument("--concurrency", type=int, metavar="N", help="how many are active at once at most")
    command.add_argument("--out", metavar="FILE", help="where the items go (default: the standard output)")
    command.add_argument("--no-wait", action="store_true", help="only start it, and show it as JSON")

    command = add("items", "write the items of a batch, one JSON object a line")
    command.add_argument("id", help="id of the batch")

    _operator.add_arguments(
        add("ops", "for whoever runs the app: what is overdue, the intake, the drain, the data of an owner")
    )
    return top


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says. Ends the program where it is wrong."""
    program = parser()
    options, rest = program.parse_known_args(arguments)
    # Before Python 3.13 an optional argument that comes after an option is left over.
    if options.command == "ops" and options.argument is None and len(rest) == 1 and not rest[0].startswith("-"):
        options.argument = rest.pop()
    if rest:
        program.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def main(
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    out: TextIO | None = None,
    error: TextIO | None = None,
) -> int:
    """Run one command; returns the exit code."""
    options = parsed(arguments)
    terminal = Terminal(sys.stdout if out is None else out, sys.stderr if error is None else error)
    try:
        url = options.url or environ.get("DORMOUSE_URL")
        if not url:
            raise InvalidArgument("Which app? Give its address with --url, or set DORMOUSE_URL.")
        options.url = url.rstrip("/")
        # One that is given goes before both of the environment's.
        said = (options.key, options.token) if options.key or options.token else map(environ.get, IN_ENVIRONMENT)
        key, token = (each or None for each in said)
        headers = _operator.headers_of(options, environ)
        with Dormouse(url, key, token, on_behalf_of=options.on_behalf_of, headers=headers) as client:
            code: int = options.action(Command(client, options, terminal, has_token=token is not None))
            return code
    except InvalidArgument as wrong:
        terminal.say(f"dormouse: {wrong.detail}")
        return MISUSED
    except DormouseError as refused:
        terminal.say(f"dormouse: {refused}")
        terminal.say_how_to_come_back(is_sent=is_outage(refused))
        return REFUSED
    except KeyboardInterrupt:
        terminal.say("")
        terminal.say_how_to_come_back(is_sent=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough (`… | head`). Else the interpreter complains as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE


def start() -> int:
    """The program: on the real streams, whose encoding may not have every character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    return main()


if __name__ == "__main__":
    sys.exit(start())
