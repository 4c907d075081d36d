"""`python -m nylon_ring_py.cli` is the command `nylon-ring`."""

import sys

from nylon_ring_py.cli.main import main

sys.exit(main())
