"""The contract as a document: OpenAPI 3.1, made from the triggers and from what their handlers say of themselves.

``shared/api/operations.py`` has the words for that. ``python -m local.openapi`` writes what ships:
``shared/api/openapi.json``, and the types of the JavaScript client in ``clients/js/src/contract.ts``.
"""
