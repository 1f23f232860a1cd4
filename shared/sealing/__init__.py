"""Encrypts what lies in the rows: envelopes, a data key a session, wrapped by a key of the operator's."""
