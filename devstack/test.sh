#!/bin/bash
# Runs Paddock's tests: ./devstack/test.sh [unit|simulation|functional|integration|faults|long ...]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/python.sh"

has_python || install_python
exec python3 -m devstack.launch test "$@"
