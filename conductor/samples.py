"""The sample files of configuration and policy, made from the options and the rules."""

from __future__ import annotations

import tempfile
from pathlib import Path

from oslo_config import generator

from conductor.policy import list_rules

POLICY = """\
# Who may do what. These are the defaults. To change a rule, copy its line without the hash mark
# into a file that [conductor] policy_file names.
#
# "@" lets everybody pass, "!" nobody; the roles are admin, member and reader, each one implying
# those after it. %(project_id)s is the project of what something is done to.

"""


def render_configuration() -> str:
    """``paddock.conf.sample``: what ``oslo-config-generator --namespace paddock`` writes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "sample")
        options = {"namespace": "paddock", "wrap-width": "100", "output-file": str(path)}
        generator.main([f"--{name}={value}" for name, value in options.items()])
        return path.read_text()


def render_policy() -> str:
    """``policy.yaml.sample``."""
    return POLICY + "".join(f'#"{rule.name}": "{rule.check_str}"\n' for rule in list_rules())
