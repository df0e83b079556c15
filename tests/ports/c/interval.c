// The default policy, `interval`, ported to C: the same settings and verdicts.
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef reprieve_policy_types_memory_t memory_t;
typedef reprieve_policy_types_moment_t moment_t;
typedef exports_reprieve_policy_settings_setting_t setting_t;

// What a user takes in the store at most, unless their name is very long.
#define ENTRY_BYTES 512u

static struct {
  uint64_t interval_ms;
  uint32_t memory_limit;
  uint32_t busy_after;
  bool daily_reset;
  bool start_at_login;
  bool count_upgrades;
  uint8_t manner;
} settings = {600000, 32 << 20, 0, true, false, true, REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED};

// Name, type, default and description of each setting.
static const char *const descriptions[][4] = {
    {"interval", "duration", "10m", "How long Reprieve answers a user after a login; with 0s every login passes."},
    {"reset", "daily|never", "daily", "Whether each user passes once on a new day."},
    {"memory-limit", "size", "32MiB",
     "Maximum size of the remembered users; when it is exceeded, all users are forgotten."},
    {"manner", "unchanged|empty|busy|refuse|disconnect", "unchanged", "How a denial is shown."},
    {"start", "authenticated|login", "authenticated",
     "Whether the clock starts when the mail server accepts a login, or when a login passes."},
    {"upgrades", "count|ignore", "count",
     "Whether a denied login that continues at the mail server starts the clock again."},
    {"busy-after", "number", "0", "Upgrades in a row after which a denial is shown as busy; 0 for never."},
};
#define SETTINGS (sizeof descriptions / sizeof *descriptions)

void exports_reprieve_policy_settings_describe(exports_reprieve_policy_settings_list_setting_t *described) {
  described->len = SETTINGS;
  described->ptr = calloc(SETTINGS, sizeof *described->ptr);
  for (size_t i = 0; i < SETTINGS; i++) {
    setting_t *setting = &described->ptr[i];
    policy_string_dup(&setting->name, descriptions[i][0]);
    policy_string_dup(&setting->type, descriptions[i][1]);
    setting->default_.is_some = true;
    policy_string_dup(&setting->default_.val, descriptions[i][2]);
    policy_string_dup(&setting->doc, descriptions[i][3]);
  }
}

static bool equals(const policy_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

typedef struct {
  const char *name;
  uint64_t factor;
} factor_t;

static const factor_t milliseconds[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {0}};
static const factor_t bytes[] = {{"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {0}};
static const factor_t one[] = {{"", 1}, {0}};

// The sum of numbers with units, such as `9m30s`. Returns false if it is another text, or too large.
static bool sum(const policy_string_t *text, const factor_t *units, uint64_t *sum) {
  const uint8_t *at = text->ptr, *end = at + text->len;
  *sum = 0;
  do {
    uint64_t number = 0;
    const uint8_t *digits = at;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
      if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *at - '0', &number))
        return false;
    if (at == digits) return false;
    while (at < end && *at == ' ') at++;
    policy_string_t unit = {(uint8_t *)at, 0};
    while (at < end && (*at | 0x20) >= 'a' && (*at | 0x20) <= 'z') at++, unit.len++;
    const factor_t *factor = units;
    while (factor->name && !equals(&unit, factor->name)) factor++;
    if (!factor->name || __builtin_mul_overflow(number, factor->factor, &number) ||
        __builtin_add_overflow(*sum, number, sum))
      return false;
    while (at < end && *at == ' ') at++;
  } while (at < end);
  return true;
}

// Reprieve has checked that the value is of the setting's type. Returns false if it is too large.
static bool configure_one(const policy_string_t *key, const policy_string_t *value) {
  // In the order of the enum in the WIT.
  static const char *const manners[] = {"unchanged", "empty", "busy", "refuse", "disconnect"};
  uint64_t number;
  if (equals(key, "interval")) return sum(value, milliseconds, &settings.interval_ms);
  if (equals(key, "memory-limit")) {
    if (!sum(value, bytes, &number)) return false;
    settings.memory_limit = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
  }
  if (equals(key, "busy-after")) {
    if (!sum(value, one, &number) || number > UINT32_MAX) return false;
    settings.busy_after = (uint32_t)number;
  }
  if (equals(key, "reset")) settings.daily_reset = equals(value, "daily");
  if (equals(key, "start")) settings.start_at_login = equals(value, "login");
  if (equals(key, "upgrades")) settings.count_upgrades = equals(value, "count");
  if (equals(key, "manner"))
    for (uint8_t i = 0; i < 5; i++)
      if (equals(value, manners[i])) settings.manner = i;
  return true;
}

bool exports_reprieve_policy_handler_configure(policy_list_tuple2_string_string_t *given, policy_string_t *error) {
  bool is_valid = true;
  for (size_t i = 0; is_valid && i < given->len; i++) {
    const policy_string_t *key = &given->ptr[i].f0, *value = &given->ptr[i].f1;
    is_valid = configure_one(key, value);
    if (is_valid) continue;
    // Names of settings are short: Reprieve has checked them.
    char text[64];
    int length = snprintf(text, sizeof text, "`%.*s` is too large", (int)key->len, key->ptr);
    policy_string_dup_n(error, text, length);
  }
  policy_list_tuple2_string_string_free(given);
  return is_valid;
}

// What is remembered about a user, as four numbers:
// - first: the second when the clock was started; 0 if it is not running,
// - second: that moment's millisecond in the upper 11 bits, and its date in the others,
// - third: upgrades since a login passed.
#define DATE_BITS 21
#define DATE_MASK ((1u << DATE_BITS) - 1)

static uint32_t date_of(const moment_t *time) {
  uint32_t year = time->date.year < 0 ? -(uint32_t)time->date.year : (uint32_t)time->date.year;
  return (year & 0xFFF) << 9 | (uint32_t)time->date.month << 5 | time->date.day;
}

static void start_clock(memory_t *memory, const moment_t *time) {
  memory->first = time->unix > 0 ? time->unix : 1;
  memory->second = (uint32_t)time->millisecond << DATE_BITS | date_of(time);
}

static uint64_t ms(uint32_t seconds, uint32_t milliseconds) { return (uint64_t)seconds * 1000 + milliseconds; }

// Whether the login passes; if not, sets the seconds until one would.
static bool passes(const memory_t *memory, const moment_t *now, uint32_t *retry_after) {
  if (memory->first == 0) return true;
  if (settings.daily_reset && (memory->second & DATE_MASK) != date_of(now)) return true;
  uint64_t last_ms = ms(memory->first, memory->second >> DATE_BITS), now_ms = ms(now->unix, now->millisecond);
  // If the clock was set back, the user passes.
  if (now_ms < last_ms || now_ms - last_ms >= settings.interval_ms) return true;
  uint64_t left_ms = settings.interval_ms - (now_ms - last_ms), left = left_ms / 1000 + (left_ms % 1000 != 0);
  *retry_after = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
  if (settings.daily_reset) {
    uint32_t until_midnight = now->second_of_day > 86400 ? 0 : 86400 - now->second_of_day;
    if (*retry_after > until_midnight) *retry_after = until_midnight;
  }
  return false;
}

static void forget_everybody(uint8_t level, const char *why) {
  policy_string_t line;
  policy_string_set(&line, why);
  reprieve_policy_log_line(level, &line);
  reprieve_policy_store_clear();
}

// Above the limit, all users are forgotten. If the store has no room for another user, too.
static void limit_memory(void) {
  uint32_t used = reprieve_policy_store_usage();
  if (used > settings.memory_limit) {
    forget_everybody(REPRIEVE_POLICY_LOG_LEVEL_INFO, "memory-limit reached: every user is forgotten");
    return;
  }
  uint32_t quota = reprieve_policy_store_quota();
  if (used > (quota > ENTRY_BYTES ? quota - ENTRY_BYTES : 0))
    forget_everybody(REPRIEVE_POLICY_LOG_LEVEL_WARN,
                     "the store's quota is nearly reached before memory-limit: every user is forgotten");
}

void exports_reprieve_policy_handler_decide(reprieve_policy_types_login_t *login, memory_t *memory,
                                            reprieve_policy_types_verdict_t *verdict) {
  memset(verdict, 0, sizeof *verdict);
  if (settings.interval_ms == 0) return;
  uint32_t retry_after;
  if (passes(memory, &login->time, &retry_after)) {
    if (!settings.start_at_login) return;
    limit_memory();
    // Of simultaneous logins, the first to be remembered passes; the others are decided again.
    verdict->remember.is_some = true;
    start_clock(&verdict->remember.val, &login->time);
    return;
  }
  // If the password is not known, let the mail server answer.
  bool is_refusal = settings.manner >= REPRIEVE_POLICY_TYPES_MANNER_REFUSE;
  if (is_refusal && login->standing != REPRIEVE_POLICY_TYPES_STANDING_KNOWN) return;
  bool is_busy = settings.busy_after > 0 && memory->third >= settings.busy_after;
  verdict->deny.is_some = true;
  verdict->deny.val = is_busy ? REPRIEVE_POLICY_TYPES_MANNER_BUSY : settings.manner;
  verdict->retry_after.is_some = true;
  verdict->retry_after.val = retry_after;
}

bool exports_reprieve_policy_handler_observe(reprieve_policy_types_outcome_t *outcome, memory_t *memory,
                                             memory_t *remember) {
  *remember = *memory;
  if (settings.interval_ms == 0 || outcome->ending != REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) return false;
  bool restarts = outcome->upgrade ? settings.count_upgrades : !settings.start_at_login;
  if (restarts) start_clock(remember, &outcome->time);
  if (!outcome->upgrade) remember->third = 0;
  else if (memory->third < UINT32_MAX) remember->third++;
  limit_memory();
  return true;
}
