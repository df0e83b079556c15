"""A pause after each login: a user passes if his last login that the mail server accepted is at
least `pause` seconds ago."""

import wit_world
from componentize_py_types import Err
from wit_world.imports import store
from wit_world.imports.types import Deny, Ending, Manner, Pass, Verdict_Deny, Verdict_Pass

MOST_SECONDS = (1 << 32) - 1
pause = 300


def key_of(claim):
    """The names as the host gives them: a master user is another user for each maildrop that they
    act for."""
    if claim.authorization_id is None:
        return f"user:{claim.user}"
    # No name has a NUL in it.
    return f"user:{claim.user}\0{claim.authorization_id}"


class WitWorld(wit_world.WitWorld):
    def configure(self, settings):
        global pause
        for key, value in settings:
            if key != "pause":
                raise Err(f"unknown setting `{key}`; known is pause")
            if not (value.isascii() and value.isdigit() and int(value) <= MOST_SECONDS):
                raise Err(f'`pause` is "{value}"; it is a whole number of seconds')
            pause = int(value)

    def decide(self, login):
        # What is there has not expired yet.
        if pause == 0 or store.get(key_of(login.claim)) is None:
            return Verdict_Pass(Pass(pool=None, user=None, note=None, delay_ms=0))
        return Verdict_Deny(
            Deny(manner=Manner.UNCHANGED, code=None, retry_after=None, reason="too-soon", delay_ms=0)
        )

    def observe(self, outcome):
        if outcome.ending != Ending.AUTHENTICATED or pause == 0:
            return
        try:
            store.set(key_of(outcome.claim), b"1", pause)
        except Err:
            pass  # Too long a name, or a full store: such a user passes.
