#!/bin/bash
# Runs Paddock's tests: ./devstack/test.sh [unit|simulation|functional|integration|long ...]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/python.sh"

require_python
python3 -m devstack.venv tests
exec .venv/bin/python -m devstack test "$@"
