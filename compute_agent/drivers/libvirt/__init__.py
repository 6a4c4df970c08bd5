"""Guests on QEMU and KVM through libvirt; the only place that knows libvirt."""

import os

# Read when libvirt is loaded. As a part of this process it would print whatever it meets to
# standard error, though callers get its errors as exceptions.
os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
