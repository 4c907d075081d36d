"""How many examples the Hypothesis tests here try: few and always the same in `make test`, many in `make fuzz`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

_FUZZING = os.environ.get("NRPY_FUZZ_EXAMPLES", "")


def options(few: int) -> dict[str, Any]:
    """Settings for a test that tries `few` examples in `make test`.

    With NRPY_FUZZ_EXAMPLES=N it is N times as many, different ones in each run.
    """
    return {
        "max_examples": few * int(_FUZZING or 1),
        "derandomize": not _FUZZING,
        "database": None,
        "deadline": None,
        "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    }


def examples(few: int) -> Callable[[Any], Any]:
    """The same as a decorator."""
    return settings(**options(few))
