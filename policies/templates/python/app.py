"""A pause after each login: a user passes if their last login that the mail server accepted was at
least `pause` seconds ago."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.settings import Setting
from wit_world.imports.types import Ending, Manner, Memory, Verdict

MAX_SECONDS = (1 << 32) - 1
PASS = Verdict(deny=None, retry_after=None, remember=None)
pause = 300


class Handler(exports.Handler):
    def configure(self, settings):
        global pause
        for key, value in settings:
            if key != "pause":
                raise Err(f"unknown setting `{key}`; known settings: pause")
            if not (value.isascii() and value.isdigit() and int(value) <= MAX_SECONDS):
                raise Err(f'`pause` is "{value}"; it must be a whole number of seconds')
            pause = int(value)

    def decide(self, login, memory):
        """`memory.first` is when the mail server accepted the user's last login; 0 if it is not
        known."""
        elapsed = login.time.unix - memory.first
        # If the clock was set back, the user passes.
        if memory.first == 0 or elapsed < 0 or elapsed >= pause:
            return PASS
        return Verdict(deny=Manner.UNCHANGED, retry_after=pause - elapsed, remember=None)

    def observe(self, outcome, memory):
        if outcome.ending != Ending.AUTHENTICATED or pause == 0:
            return None
        return Memory(outcome.time.unix, memory.second, memory.third, memory.fourth)


class Settings(exports.Settings):
    def describe(self):
        return [
            Setting(
                name="pause",
                type="number",
                default="300",
                doc="Seconds between two logins that reach the mail server; with 0 every login passes.",
            )
        ]
