"""All cases, in the order of the table."""

from conformance.case import CASES as REGISTERED
from conformance.cases import duplex, echo, limits, loading, requests, state, streams, traffic

_ORDER = [
    module.__name__.rpartition(".")[2] for module in (echo, requests, streams, duplex, limits, state, traffic, loading)
]

CASES = sorted(REGISTERED, key=lambda case: _ORDER.index(case.theme))

__all__ = ["CASES"]
