#!/bin/bash
# Runs a whole Paddock cloud on this machine; ./devstack/stack.sh --help says more.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/python.sh"

if ! has_python; then
    case ${1:-embedded} in
        embedded | up | multihost) install_python ;;
        status | down)
            if [ -e "${PADDOCK_DIRECTORY:-.paddock}" ]; then
                install_python
            else
                echo "Nothing of this checkout runs: it was never started."
                [ "$1" = down ]
                exit
            fi
            ;;
        *)
            echo "usage: stack.sh [embedded | up | multihost | status | down] [--help]" >&2
            exit 2
            ;;
    esac
fi
exec python3 -m devstack.launch "$@"
