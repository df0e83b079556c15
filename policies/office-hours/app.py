"""A policy with intervals by weekday and time of day, for all users or for a domain."""

import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.settings import Setting
from wit_world.imports import claim
from wit_world.imports.types import Ending, Manner, Memory, Standing, Verdict

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MANNERS = ("unchanged", "empty", "busy", "refuse", "disconnect")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DAY_SECONDS = 86_400
DEFAULT_HOURS = "mon-fri 08:00-18:00 2m, otherwise 30m"
# The maximum interval.
MAX_INTERVAL = 31 * DAY_SECONDS
EXAMPLE = '"mon-fri 08:00-18:00 2m, sat 09:00-13:00 10m, otherwise 30m"'
DESCRIPTIONS = [
    Setting("hours", "text", DEFAULT_HOURS, "Intervals by day and time, for all users."),
    Setting("hours.*", "text", None, "The same for the users of a domain."),
    Setting("manner", "|".join(MANNERS), "unchanged", "How a denial is shown."),
    Setting(
        "upgrades",
        "count|ignore",
        "count",
        "Whether a denied login that continues at the mail server counts as a login.",
    ),
]
RULE = re.compile(
    r"(?:(?P<from>[a-z]{3})(?:-(?P<to>[a-z]{3}))? )?(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d) (?P<interval>\S+)"
)
OTHERWISE = re.compile(r"otherwise (?P<interval>\S+)")


class InvalidSetting(Exception):
    """The message says what is wrong with the setting."""


def duration(text):
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    seconds = int(match[1]) * UNIT_SECONDS[match[2]] if match else MAX_INTERVAL + 1
    if seconds > MAX_INTERVAL:
        raise InvalidSetting(
            f'"{text[:40]}" is not an interval; one reads like "90s", "10m" or "1h", up to "31d"'
        )
    return seconds


def day(text):
    if text not in DAYS:
        raise InvalidSetting(f'"{text}" is not a day; days are {", ".join(DAYS)}')
    return DAYS.index(text)


def time(text):
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes > 59 or hours * 60 + minutes > 24 * 60:
        raise InvalidSetting(f'"{text}" is not a time of day')
    return hours * 3600 + minutes * 60


class Rule:
    """An interval for some hours of some days. If the hours end before they begin, they continue
    after midnight, into a day that may not be one of those named."""

    def __init__(self, text):
        match = RULE.fullmatch(text)
        if match is None:
            raise InvalidSetting(f'"{text[:60]}" is not a rule; rules read like {EXAMPLE}')
        first = day(match["from"]) if match["from"] else 0
        last = day(match["to"]) if match["to"] else (first if match["from"] else 6)
        self.days = {number % 7 for number in range(first, last + 1 if last >= first else last + 8)}
        self.begin, self.end = time(match["begin"]), time(match["end"])
        if self.begin == self.end:
            raise InvalidSetting(f'"{text[:60]}" is empty; a whole day is 00:00-24:00')
        self.interval = duration(match["interval"])

    def matches(self, weekday, second):
        if self.begin < self.end:
            return weekday in self.days and self.begin <= second < self.end
        return (weekday in self.days and second >= self.begin) or (
            (weekday - 1) % 7 in self.days and second < self.end
        )


class Hours:
    """Rules in order, and the interval if none of them matches."""

    def __init__(self, text):
        *rules, last = [part.strip() for part in text.split(",")]
        match = OTHERWISE.fullmatch(last)
        if match is None:
            raise InvalidSetting(f'must end with an `otherwise` rule, such as in {EXAMPLE}')
        self.rules = [Rule(rule) for rule in rules]
        self.otherwise = duration(match["interval"])

    def interval(self, moment):
        for rule in self.rules:
            if rule.matches(moment.weekday.value, moment.second_of_day):
                return rule.interval
        return self.otherwise


class Chosen:
    def __init__(self):
        self.hours = Hours(DEFAULT_HOURS)
        self.domains = {}
        self.manner = Manner.UNCHANGED
        self.counts_upgrades = True

    def take(self, key, value):
        if key == "hours":
            self.hours = Hours(value)
        elif key.startswith("hours.") and len(key) > len("hours."):
            self.domains[key.removeprefix("hours.").lower()] = Hours(value)
        elif key == "manner":
            if value not in MANNERS:
                choices = ", ".join(f'"{word}"' for word in MANNERS)
                raise InvalidSetting(f'is "{value[:40]}"; it can be {choices}')
            self.manner = Manner[value.upper()]
        elif key == "upgrades":
            if value not in ("count", "ignore"):
                raise InvalidSetting(f'is "{value[:40]}"; it can be "count", "ignore"')
            self.counts_upgrades = value == "count"
        else:
            known = ", ".join(setting.name for setting in DESCRIPTIONS)
            raise InvalidSetting(f"is not known; known settings: {known}")

    def of(self, user):
        """The hours of a user, by the domain after the last @ of their name. Folding case is safe
        here: hours grant no access to a maildrop."""
        domain = user.rpartition("@")[2].lower()
        return self.domains.get(domain, self.hours)


settings = Chosen()
PASS = Verdict(deny=None, retry_after=None, remember=None)


class Handler(exports.Handler):
    """The user's memory holds the Unix time of their last login."""

    def configure(self, given):
        for key, value in given:
            try:
                settings.take(key, value)
            except InvalidSetting as problem:
                raise Err(f"`{key[:80]}` {problem}")

    def decide(self, login, memory):
        if memory.first == 0:
            return PASS
        interval = settings.of(claim.user()).interval(login.time)
        elapsed = login.time.unix - memory.first
        # If the clock was set back, the user passes.
        if elapsed < 0 or elapsed >= interval:
            return PASS
        # If the password is not known, let the mail server answer.
        if settings.manner in (Manner.REFUSE, Manner.DISCONNECT) and login.standing != Standing.KNOWN:
            return PASS
        return Verdict(deny=settings.manner, retry_after=interval - elapsed, remember=None)

    def observe(self, outcome, memory):
        # Also if the interval is 0 now: another rule may match at the user's next login.
        is_login = not outcome.upgrade or settings.counts_upgrades
        if outcome.ending == Ending.AUTHENTICATED and is_login:
            return Memory(first=outcome.time.unix, second=0, third=0, fourth=0)
        return None


class Settings(exports.Settings):
    def describe(self):
        return DESCRIPTIONS
