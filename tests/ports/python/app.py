"""The default policy, `interval`, ported to Python: the same settings and verdicts."""

import re
import struct

import wit_world
from componentize_py_types import Err
from wit_world.imports import log, store
from wit_world.imports.types import (
    Deny,
    Ending,
    Manner,
    Pass,
    Standing,
    Verdict_Deny,
    Verdict_Pass,
)

DURATION = 'a duration reads like "90s", "10m" or "1h"'
SIZE = 'a size reads like "100KiB" or "32MiB"'
KNOWN = "known settings: interval, reset, memory-limit, manner, start"
MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
AMOUNT = re.compile(r"([0-9]+) *([A-Za-z]*)")
# The time, and the date packed into a number.
STAMP = struct.Struct("<Qi")
MAX_SECONDS = (1 << 32) - 1


class Settings:
    interval_ms = 600_000
    memory_limit = 32 << 20
    reset = "daily"
    manner = "unchanged"
    start = "authenticated"


settings = Settings()


def refuse(key, value, right):
    raise Err(f'`{key}` is "{value[:200]}"; {right}')


def amount(key, value, units, right):
    match = AMOUNT.fullmatch(value)
    if match is None or match[2] not in units:
        refuse(key, value, right)
    amount = int(match[1]) * units[match[2]]
    if amount >= 1 << 64:
        refuse(key, value, right)
    return amount


def choice(key, value, *words):
    if value not in words:
        refuse(key, value, "it can be " + ", ".join(f'"{word}"' for word in words))
    return value


def configure(given):
    for key, value in given:
        if key == "interval":
            settings.interval_ms = amount(key, value, MILLISECONDS, DURATION)
        elif key == "memory-limit":
            settings.memory_limit = amount(key, value, BYTES, SIZE)
        elif key == "reset":
            settings.reset = choice(key, value, "daily", "never")
        elif key == "start":
            settings.start = choice(key, value, "authenticated", "login")
        elif key == "manner":
            settings.manner = choice(key, value, "unchanged", "empty", "busy", "refuse", "disconnect")
        else:
            refuse(key, value, f"unknown setting; {KNOWN}")


def let_pass():
    return Verdict_Pass(Pass(pool=None, user=None, note=None, delay_ms=0))


def deny(standing, retry_after):
    # If the password is not known, let the mail server answer.
    if settings.manner in ("refuse", "disconnect") and standing != Standing.KNOWN:
        return let_pass()
    return Verdict_Deny(
        Deny(
            manner=Manner[settings.manner.upper()],
            code=None,
            retry_after=min(retry_after, MAX_SECONDS),
            reason="too-soon",
            delay_ms=0,
        )
    )


def key_of(claim):
    """The store's key, one per maildrop: a master user has one for each maildrop that they open."""
    if claim.authorization_id is None:
        return claim.user
    # User names contain no NUL.
    return f"{claim.user}\0{claim.authorization_id}"


def stamp_of(time):
    return STAMP.pack(time.unix_ms, (time.date.year * 16 + time.date.month) * 32 + time.date.day)


def ttl():
    return min(-(-settings.interval_ms // 1000), MAX_SECONDS)


def remember(key, stamp):
    try:
        store.set(key, stamp, ttl())
    except Err as refused:
        if refused.value != store.Refused.QUOTA:
            return
        log.line(
            log.Level.WARN, "the store's quota is reached before memory-limit: every user is forgotten"
        )
        store.clear()
        try:
            store.set(key, stamp, ttl())
        except Err:
            pass  # Too large even for an empty store.


def wait(found, time):
    """Seconds until a login would pass; None if this one does."""
    if found is None or len(found) != STAMP.size:
        return None
    last_ms, last_day = STAMP.unpack(found)
    now_ms, day = STAMP.unpack(stamp_of(time))
    if settings.reset == "daily" and last_day != day:
        return None
    # If the clock was set back, the user passes.
    if now_ms < last_ms or now_ms - last_ms >= settings.interval_ms:
        return None
    seconds = -(-(settings.interval_ms - (now_ms - last_ms)) // 1000)
    if settings.reset == "daily":
        seconds = min(seconds, max(0, 86_400 - time.second_of_day))
    return seconds


def decide(login):
    if settings.interval_ms == 0:
        return let_pass()
    if store.usage() > settings.memory_limit:
        log.line(log.Level.INFO, "memory-limit reached: every user is forgotten")
        store.clear()
    key = key_of(login.claim)
    found = store.get(key)
    seconds = wait(found, login.time)
    if seconds is not None:
        return deny(login.claim.standing, seconds)
    if settings.start == "login":
        now = stamp_of(login.time)
        # Of simultaneous logins, the first to write passes.
        try:
            if found is None:
                written = store.add(key, now, ttl())
            else:
                written = store.compare_and_set(key, found, now, ttl())
        except Err:
            remember(key, now)
        else:
            if not written:
                return deny(login.claim.standing, ttl())
    return let_pass()


def observe(outcome):
    if settings.start == "authenticated" and settings.interval_ms > 0 and outcome.ending == Ending.AUTHENTICATED:
        remember(key_of(outcome.claim), stamp_of(outcome.time))


class WitWorld(wit_world.WitWorld):
    def configure(self, settings):
        configure(settings)

    def decide(self, login):
        return decide(login)

    def observe(self, outcome):
        observe(outcome)
