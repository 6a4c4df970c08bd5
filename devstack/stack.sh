#!/bin/bash
# Runs a whole Paddock cloud on this machine; ./devstack/stack.sh --help says more.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/python.sh"

require_python
command=${1:-embedded}
python=.venv/bin/python
case $command in
    down) [ -x $python ] || python=python3 ;;
    embedded | up)
        purpose=embedded
        [ "${PADDOCK_HYPERVISOR:-}" != fake ] || purpose=
        python3 -m devstack.venv "$purpose"
        ;;
    multihost) python3 -m devstack.venv multihost ;;
    *) python3 -m devstack.venv ;;
esac
exec $python -m devstack "$@"
