"""``POST /servers/{server_id}/action``: one verb, handed to the ledger."""

from __future__ import annotations

from api.call import Call, Document
from api.operations import Frame, Resource, operation
from api.questions import Questions
from api.schemas.server_actions import CONSOLE, VERBS
from api.wishes import Wishes


class ServerActions(Resource):
    """``/servers/{server_id}/action``."""

    def __init__(self, frame: Frame, wishes: Wishes, questions: Questions) -> None:
        super().__init__(frame)
        self._wishes = wishes
        self._questions = questions

    @operation(
        "server-action",
        "Do something with a server",
        status=202,
        verbs={verb.name: verb.body for verb in VERBS.values()},
        keyed=True,
        answers={200: CONSOLE},
    )
    def on_post(self, call: Call, server_id: str) -> Document | None:
        """Nothing for what was accepted, the console's text for ``os-getConsoleOutput``."""
        verb = VERBS[call.verb]
        params = call.body[verb.name] or {}
        if verb.ledger is None:
            return self._show_console(call, server_id, params)
        if verb.ledger == "reboot":
            self._wishes.ask_for(call, server_id, f"reboot-{params['type'].lower()}", {})
        else:
            given = {name: value for name, value in params.items() if value is not None}
            self._wishes.ask_for(call, server_id, verb.ledger, given)
        return None

    def _show_console(self, call: Call, server_id: str, params: Document) -> Document:
        call.status = 200
        length = params.get("length")
        lines = None if length is None or int(length) < 0 else int(length)
        answer = self._questions.ask(call, server_id, "console", {"length": lines})
        return {"output": answer.get("output", "")}
