#!/bin/bash
# Runs Paddock's tests: ./devstack/test.sh [unit|simulation|functional|integration|long ...]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/python.sh"

require_python
case " ${*:-integration} " in
    *" integration "* | *" long "*) purpose=tests ;;
    *) purpose= ;;
esac
python3 -m devstack.venv "$purpose"
exec .venv/bin/python -m devstack test "$@"
