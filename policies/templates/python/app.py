"""A pause after each login: a user passes if their last login that the mail server accepted was at
least `pause` seconds ago."""

import wit_world
from componentize_py_types import Err
from wit_world.imports import store
from wit_world.imports.types import Deny, Ending, Manner, Pass, Verdict_Deny, Verdict_Pass

MAX_SECONDS = (1 << 32) - 1
pause = 300


def key_of(claim):
    """The store's key, one per maildrop: a master user has one for each maildrop that they open."""
    if claim.authorization_id is None:
        return f"user:{claim.user}"
    # User names contain no NUL.
    return f"user:{claim.user}\0{claim.authorization_id}"


class WitWorld(wit_world.WitWorld):
    def configure(self, settings):
        global pause
        for key, value in settings:
            if key != "pause":
                raise Err(f"unknown setting `{key}`; known settings: pause")
            if not (value.isascii() and value.isdigit() and int(value) <= MAX_SECONDS):
                raise Err(f'`pause` is "{value}"; it must be a whole number of seconds')
            pause = int(value)

    def decide(self, login):
        # The store forgets the user after `pause` seconds.
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
            pass  # If the name is too long or the store is full, the user passes.
