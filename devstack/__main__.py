"""``python -m devstack``: see devstack/cmd.py."""

import sys

from devstack.cmd import main

sys.exit(main())
