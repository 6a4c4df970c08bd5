# Sourced by stack.sh and test.sh: is there a Python that can make virtual environments?
# Sets the working directory to the checkout.

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

has_python() {
    python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

install_python() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Python 3.11 or newer with venv is needed (Debian: python3 python3-venv)." >&2
        exit 1
    fi
    echo "Installing Debian packages: python3 python3-venv"
    apt-get -o DPkg::Lock::Timeout=300 update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install \
        --yes --quiet --no-install-recommends python3 python3-venv
}
