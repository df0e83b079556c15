"""The default policy, `interval`, ported to Python: the same settings and verdicts."""

import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.settings import Setting
from wit_world.imports import log, store
from wit_world.imports.types import Ending, Manner, Memory, Standing, Verdict

DURATION = 'a duration reads like "90s", "10m" or "1h30m"'
SIZE = 'a size reads like "100KiB" or "32MiB"'
NUMBER = "it is a number such as 3"
MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
AMOUNT = re.compile(r"([0-9]+) *([A-Za-z]*) *")
MAX_U32 = (1 << 32) - 1
# What a user takes in the store at most, unless their name is very long.
ENTRY_BYTES = 512
MANNERS = ("unchanged", "empty", "busy", "refuse", "disconnect")

DESCRIPTIONS = [
    Setting(
        "interval",
        "duration",
        "10m",
        "How long Reprieve answers a user after a login; with 0s every login passes.",
    ),
    Setting("reset", "daily|never", "daily", "Whether each user passes once on a new day."),
    Setting(
        "memory-limit",
        "size",
        "32MiB",
        "Maximum size of the remembered users; when it is exceeded, all users are forgotten.",
    ),
    Setting("manner", "|".join(MANNERS), "unchanged", "How a denial is shown."),
    Setting(
        "start",
        "authenticated|login",
        "authenticated",
        "Whether the clock starts when the mail server accepts a login, or when a login passes.",
    ),
    Setting(
        "upgrades",
        "count|ignore",
        "count",
        "Whether a denied login that continues at the mail server starts the clock again.",
    ),
    Setting(
        "busy-after",
        "number",
        "0",
        "Upgrades in a row after which a denial is shown as busy; 0 for never.",
    ),
]

interval_ms = 600_000
daily_reset = True
memory_limit = 32 << 20
manner = Manner.UNCHANGED
is_refusal = False
starts_at_login = False
counts_upgrades = True
busy_after = 0


def refuse(key, value, right):
    raise Err(f'`{key}` is "{value[:200]}"; {right}')


def amount(key, value, units, right):
    """The sum of one or more numbers with units."""
    total, end = 0, 0
    while end < len(value) or end == 0:
        match = AMOUNT.match(value, end)
        if match is None or match[2] not in units:
            refuse(key, value, right)
        total += int(match[1]) * units[match[2]]
        end = match.end()
    if total >= 1 << 64:
        refuse(key, value, right)
    return total


def size(key, value):
    if AMOUNT.fullmatch(value) is None:
        refuse(key, value, SIZE)
    return min(amount(key, value, BYTES, SIZE), MAX_U32)


def choice(key, value, *words):
    if value not in words:
        refuse(key, value, "it can be " + ", ".join(f'"{word}"' for word in words))
    return value


def number(key, value):
    if not (value.isascii() and value.isdigit() and int(value) <= MAX_U32):
        refuse(key, value, NUMBER)
    return int(value)


def configure(given):
    global interval_ms, daily_reset, memory_limit, manner, is_refusal
    global starts_at_login, counts_upgrades, busy_after
    for key, value in given:
        if key == "interval":
            interval_ms = amount(key, value, MILLISECONDS, DURATION)
        elif key == "reset":
            daily_reset = choice(key, value, "daily", "never") == "daily"
        elif key == "memory-limit":
            memory_limit = size(key, value)
        elif key == "manner":
            manner = Manner[choice(key, value, *MANNERS).upper()]
            is_refusal = manner in (Manner.REFUSE, Manner.DISCONNECT)
        elif key == "start":
            starts_at_login = choice(key, value, "authenticated", "login") == "login"
        elif key == "upgrades":
            counts_upgrades = choice(key, value, "count", "ignore") == "count"
        elif key == "busy-after":
            busy_after = number(key, value)
        else:
            known = ", ".join(setting.name for setting in DESCRIPTIONS)
            refuse(key, value, f"unknown setting; known settings: {known}")


PASS = Verdict(deny=None, retry_after=None, remember=None)


def day_of(time):
    date = time.date
    return (date.year * 16 + date.month) * 32 + date.day


def started(time, upgrades):
    """What is remembered about a user: when the clock was started, as Unix time and as a number
    made of date and millisecond, and the upgrades since a login passed."""
    # 0 is for a clock that is not running.
    return Memory(max(time.unix, 1), day_of(time) * 1000 + time.millisecond, upgrades, 0)


def wait(memory, time):
    """Seconds until a login would pass; 0 if this one does."""
    if memory.first == 0:
        return 0
    day, millisecond = divmod(memory.second, 1000)
    if daily_reset and day != day_of(time):
        return 0
    elapsed = (time.unix - memory.first) * 1000 + time.millisecond - millisecond
    # If the clock was set back, the user passes.
    if elapsed < 0 or elapsed >= interval_ms:
        return 0
    seconds = min(-(-(interval_ms - elapsed) // 1000), MAX_U32)
    return min(seconds, 86_400 - time.second_of_day) if daily_reset else seconds


def limit_memory():
    """Above a limit, all users are forgotten. If the store has no room for another user, too."""
    used = store.usage()
    if used > memory_limit:
        log.line(log.Level.INFO, "memory-limit reached: every user is forgotten")
        store.clear()
    elif used > store.quota() - ENTRY_BYTES:
        log.line(
            log.Level.WARN,
            "the store's quota is nearly reached before memory-limit: every user is forgotten",
        )
        store.clear()


def decide(login, memory):
    if interval_ms == 0:
        return PASS
    seconds = wait(memory, login.time)
    if seconds == 0:
        if not starts_at_login:
            return PASS
        limit_memory()
        # Of simultaneous logins, the first to be remembered passes; the others are decided again.
        return Verdict(None, None, started(login.time, 0))
    # If the password is not known, let the mail server answer.
    if is_refusal and login.standing != Standing.KNOWN:
        return PASS
    is_busy = 0 < busy_after <= memory.third
    return Verdict(Manner.BUSY if is_busy else manner, seconds, None)


def observe(outcome, memory):
    if interval_ms == 0 or outcome.ending != Ending.AUTHENTICATED:
        return None
    upgrades = min(memory.third + 1, MAX_U32) if outcome.upgrade else 0
    limit_memory()
    if counts_upgrades if outcome.upgrade else not starts_at_login:
        return started(outcome.time, upgrades)
    return Memory(memory.first, memory.second, upgrades, 0)


class Handler(exports.Handler):
    def configure(self, settings):
        configure(settings)

    def decide(self, login, memory):
        return decide(login, memory)

    def observe(self, outcome, memory):
        return observe(outcome, memory)


class Settings(exports.Settings):
    def describe(self):
        return DESCRIPTIONS
