"""`python -m icapd`, the same as the command `icapd`."""

import sys

from icapd.cli import main

sys.exit(main())
