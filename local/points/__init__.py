"""The points between two effects of the app, by name: where tests stop a process. The app itself knows nothing of them.

An effect is whatever changes something outside the process: a write to the store, a request to the provider, a tool, a
callback, a call to the task hub. All of them pass the ports, so ``ports`` stands there, and ``names`` gives each the
name of the step that it is a part of. ``sites`` finds in the source whatever else could have an effect.
"""
