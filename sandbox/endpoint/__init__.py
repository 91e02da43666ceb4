"""The ACS SMS opt-out endpoint on loopback: three operations, a list that really changes, and faults on demand.

It behaves as the specification and the recordings say (see `optouts`, `answers`, `signature`); `faults` tells how to
make it misbehave, and `texts` how its list changes by itself. Another process does both over HTTP, see `control`.
"""

from sandbox.endpoint.fault_file import load_faults
from sandbox.endpoint.faults import REFERENCE_FAULTS, Fault, Item
from sandbox.endpoint.memory import Request
from sandbox.endpoint.server import Endpoint

__all__ = ["REFERENCE_FAULTS", "Endpoint", "Fault", "Item", "Request", "load_faults"]
