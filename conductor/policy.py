"""Who may do what: oslo.policy with Nova's reader, member and admin defaults.

A role implies the ones below it (admin, member, reader). The rules below are the defaults;
``[conductor] policy_file`` overrides any of them by name.
"""

from __future__ import annotations

import functools
from typing import Any

from oslo_policy import policy

from paddock.context import RequestContext
from paddock.errors import Forbidden

ANSWERS = 4096
"""So many are kept: oslo.policy takes as long for one as a database does."""
ADMIN = "rule:admin_api"
MEMBER = "rule:project_member_or_admin"
READER = "rule:project_reader_or_admin"
ANYONE = "@"

_ROLES = {
    "admin_api": "role:admin",
    "member_api": "role:member or rule:admin_api",
    "reader_api": "role:reader or rule:member_api",
    "project_member_or_admin": "rule:admin_api or role:member and project_id:%(project_id)s",
    "project_reader_or_admin": (
        "rule:admin_api or (role:reader or role:member) and project_id:%(project_id)s"
    ),
}

_NOVA = "os_compute_api"

_RULES = {
    READER: [
        f"{_NOVA}:servers:index",
        f"{_NOVA}:servers:show",
        f"{_NOVA}:os-instance-actions:list",
        "paddock:networks:list",
        "paddock:networks:show",
    ],
    MEMBER: [
        f"{_NOVA}:servers:create",
        f"{_NOVA}:servers:update",
        f"{_NOVA}:servers:delete",
        f"{_NOVA}:servers:start",
        f"{_NOVA}:servers:stop",
        f"{_NOVA}:servers:reboot",
        f"{_NOVA}:os-pause-server:pause",
        f"{_NOVA}:os-pause-server:unpause",
        f"{_NOVA}:os-suspend-server:suspend",
        f"{_NOVA}:os-suspend-server:resume",
        f"{_NOVA}:os-lock-server:lock",
        f"{_NOVA}:os-lock-server:unlock",
        f"{_NOVA}:os-deferred-delete:force",
        f"{_NOVA}:os-console-output",
        "paddock:servers:poweroff",
        "paddock:servers:poweron",
    ],
    ADMIN: [
        f"{_NOVA}:servers:index:get_all_tenants",
        f"{_NOVA}:servers:create:forced_host",
        f"{_NOVA}:os-admin-actions:reset_state",
        f"{_NOVA}:os-migrate-server:migrate",
        f"{_NOVA}:os-migrate-server:migrate_live",
        f"{_NOVA}:os-flavor-manage:create",
        f"{_NOVA}:os-flavor-manage:update",
        f"{_NOVA}:os-flavor-manage:delete",
        f"{_NOVA}:os-services:update",
        f"{_NOVA}:os-services:delete",
        f"{_NOVA}:os-availability-zone:detail",
        f"{_NOVA}:os-aggregates:index",
        f"{_NOVA}:os-aggregates:show",
        f"{_NOVA}:os-aggregates:create",
        f"{_NOVA}:os-aggregates:update",
        f"{_NOVA}:os-aggregates:delete",
        f"{_NOVA}:os-aggregates:add_host",
        f"{_NOVA}:os-aggregates:remove_host",
        f"{_NOVA}:os-aggregates:set_metadata",
        "paddock:drains:list",
        "paddock:drains:show",
        "paddock:drains:create",
        "paddock:drains:steer",
        "paddock:services:list",
        "paddock:services:show",
        "paddock:services:pause",
        "paddock:services:resume",
        "paddock:servers:pass_lock",
        "paddock:servers:pass_pause",
    ],
    ANYONE: [
        f"{_NOVA}:os-availability-zone:list",
        f"{_NOVA}:flavors",
        "get_images",
        "get_image",
    ],
}


def list_rules() -> list[policy.RuleDefault]:
    """The defaults, for the enforcer and for oslo.policy's sample generator."""
    roles = [policy.RuleDefault(name, check) for name, check in _ROLES.items()]
    rules = [policy.RuleDefault(name, check) for check, names in _RULES.items() for name in names]
    return roles + rules


class Policy:
    """Answers whether a caller may do something.

    :param conf: a process's configuration; ``[conductor] policy_file`` is read from it, once
    :raises ValueError: that file cannot be understood
    """

    def __init__(self, conf: Any) -> None:
        self._answer = functools.lru_cache(ANSWERS)(self._ask)
        self._enforcer = policy.Enforcer(conf, policy_file=conf.conductor.policy_file)
        self._enforcer.register_defaults(list_rules())
        try:
            self._enforcer.load_rules()
            self._enforcer.use_conf = False  # else it looks for the file at each question
        except (ValueError, TypeError, AttributeError) as error:  # by what the file holds
            file = conf.conductor.policy_file
            raise ValueError(f"policy_file {file} must map names to rules: {error}") from error

    def allows(self, ctxt: RequestContext, rule: str, target: dict[str, Any] | None = None) -> bool:
        """Whether the caller passes the rule.

        :param target: what it is done to (``project_id``); by default the caller's own project
        """
        own = {"project_id": ctxt.project_id, "user_id": ctxt.user_id}
        about = tuple(sorted((own if target is None else target).items()))
        return self._answer(rule, ctxt.project_id, ctxt.user_id, tuple(ctxt.roles), about)

    def _ask(
        self, rule: str, project_id: str | None, user_id: str | None, roles: tuple[str, ...],
        about: tuple[tuple[str, Any], ...],
    ) -> bool:  # fmt: skip
        caller = {"project_id": project_id, "user_id": user_id, "roles": list(roles)}
        return bool(self._enforcer.authorize(rule, dict(about), caller))

    def check(self, ctxt: RequestContext, rule: str, target: dict[str, Any] | None = None) -> None:
        """Raise Forbidden unless the caller passes the rule."""
        if not self.allows(ctxt, rule, target):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)
