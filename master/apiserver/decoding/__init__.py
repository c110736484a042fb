"""From the bytes of a request to a typed object, at a bounded cost, with pauses for others.

Every client may send anything here, so each step has a limit that is checked before its cost is
paid; see `limits.py`. JSON, YAML and protobuf all become plain values, and one walk (`typed.py`)
makes a typed object of them.
"""
