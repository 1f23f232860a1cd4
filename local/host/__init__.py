"""A small functions host for development: loads a `function_app.py` as the platform does and serves it.

    python -m local.host --app DIR [--port 7071]          # see --help
    async with Host(app_dir, port=0) as host: host.url    # in a test

It is held against recordings of the real host (tests/contract/host), and against the platform's own worker for Python
3.13 and later (tests/acceptance/test_platform_worker.py). What it is not:

- Durable: orchestrations live in memory, and a stopped or killed host loses them. There are no entities, no
  call_http and no rewind (each is refused with a sentence).
- Other triggers and bindings than HTTP, timers and durable functions: such a function is named in the log and
  left out; the others run. An app that does not index ends the host (exit code 1) instead of serving nothing.
- The platform's limits: no reset after 240 s of silence, no limit of the body, no memory of missed timers
  (`past_due` is always false). `functionTimeout` holds for activities and timers and fails that one call;
  on the platform it restarts the worker with everything on it. A timeout cannot stop a thread.
- One process does everything: module-level memory is shared by HTTP and activities here, not on the platform.
- A newline inside a path parameter is 404 and a line in the log; on the platform that invocation hangs. So it does
  on a header value that is not ASCII, and on a caller's own `x-ms-invocation-id`; here both are taken.
- Methods that the worker's own web server does not know (CONNECT) reach the app here, and are 404 there. A request
  without a body has no `Content-Length` here; the platform's proxy may add one.
- Durable timers are exact; the platform fires them up to a second early and some seconds late.
- No keys of functions are asked for unless they are given, as with `func start`. `/admin/…` and the durable
  management routes always want one (`LOCAL_HOST_ADMIN_KEY`, or the one that is logged at each start).
- It answers to loopback names alone (`--allow-host`, `Host.AllowedHosts`), and to no page of another origin
  (`--cors`, `Host.CORS`): 403 and a sentence. On the platform both are settings of the site. Pages of the origins in
  `DORMOUSE_ALLOWED_ORIGINS` get through, and the app answers them itself, as on a site without CORS settings.
"""

from local.host.app import LoadError
from local.host.clock import Clock, MovableClock, SystemClock
from local.host.command import main, serve
from local.host.host import Host
from local.host.http import Keys
from local.host.settings import SettingsError

__all__ = ["Clock", "Host", "Keys", "LoadError", "MovableClock", "SettingsError", "SystemClock", "main", "serve"]
