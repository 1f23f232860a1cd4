"""`python -m local.model`: the scripted model as a process of its own."""

from __future__ import annotations

import argparse

import uvicorn

from local.access import names_of
from local.model.server import build_app, model_config
from local.serving import listen


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.model", description="A scripted Responses API.")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--think", type=float, default=5.0, metavar="SECONDS", help="for turns that do not say")
    parser.add_argument(
        "--allow-host", nargs="+", default=[], metavar="NAME", help="names besides localhost, 127.0.0.1 and [::1]"
    )
    args = parser.parse_args()
    listening = listen(args.bind, args.port)
    print(f"The scripted model listens on http://{args.bind}:{listening.getsockname()[1]}/v1", flush=True)
    app = build_app(think=args.think, hosts=[*names_of(args.bind), *args.allow_host])
    # uvicorn's own server handles SIGTERM and Ctrl-C, which one inside a process of others must not do.
    uvicorn.Server(model_config(app)).run(sockets=[listening])


if __name__ == "__main__":
    main()
