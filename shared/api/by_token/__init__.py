"""``/api/shared``: runs and batches for whoever has a run token, in pages of other origins too.

The handlers are those of ``shared.api.native``; here is only who may call them.
"""
