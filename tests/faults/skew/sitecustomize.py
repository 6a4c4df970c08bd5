"""Puts a process's wall clock wrong by PADDOCK_CLOCK_SKEW seconds."""

import os
import time

_right = time.time
_skew = float(os.environ.get("PADDOCK_CLOCK_SKEW", "0"))
time.time = lambda: _right() + _skew
