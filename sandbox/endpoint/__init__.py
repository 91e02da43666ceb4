"""The ACS SMS opt-out endpoint on loopback: three operations, a list that really changes, and faults on demand.

It behaves as the specification and the recordings say (see `optouts`, `answers`, `signature`); `faults` tells how to
make it misbehave. Faults can also be changed from another process: GET, PUT and DELETE `{url}/sandbox/faults`, a path
that ACS does not have and that needs no signature.
"""

from sandbox.endpoint.faults import REFERENCE_FAULTS, Fault, Item, load_faults
from sandbox.endpoint.memory import Request
from sandbox.endpoint.server import Endpoint

__all__ = ["REFERENCE_FAULTS", "Endpoint", "Fault", "Item", "Request", "load_faults"]
