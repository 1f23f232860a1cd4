"""The contract as a document: OpenAPI 3.1, made from the triggers, the bodies, the errors, and a table of operations.

A new route gets an entry in a file of ``operations/``; every file there is read. ``python -m local.openapi`` writes
what ships: ``shared/api/openapi.json``, and the types of the JavaScript client in ``web/contract.d.ts``.
"""
