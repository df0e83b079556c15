// The default policy, `interval`, ported to C: the same settings and verdicts.
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DURATION "a duration reads like \"90s\", \"10m\" or \"1h\""
#define SIZE "a size reads like \"100KiB\" or \"32MiB\""
#define KNOWN "known settings: interval, reset, memory-limit, manner, start"
#define STAMP_BYTES 12

static struct {
  uint64_t interval_ms;
  uint64_t memory_limit;
  bool daily_reset;
  bool start_at_login;
  uint8_t manner;
} settings = {600000, 32 << 20, true, false, REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED};

static bool equals(const policy_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

// Length of a text truncated for an error message, at a character boundary.
static int truncated(const policy_string_t *text, size_t max) {
  if (text->len <= max) return (int)text->len;
  while (max > 0 && (text->ptr[max] & 0xC0) == 0x80) max--;
  return (int)max;
}

// Refuses a setting, with what would be right.
static bool refuse(policy_string_t *error, const policy_string_t *key, const policy_string_t *value,
                   const char *right) {
  const char *form = "`%.*s` is \"%.*s\"; %s";
  int key_length = truncated(key, 200), value_length = truncated(value, 200);
  int length = snprintf(NULL, 0, form, key_length, key->ptr, value_length, value->ptr, right);
  char *text = malloc(length + 1);
  snprintf(text, length + 1, form, key_length, key->ptr, value_length, value->ptr, right);
  error->ptr = (uint8_t *)text;
  error->len = length;
  return false;
}

// Parses a number followed by a unit. Returns false if there is no number or it is too large.
static bool number(const policy_string_t *text, uint64_t *number, policy_string_t *unit) {
  size_t at = 0;
  *number = 0;
  while (at < text->len && text->ptr[at] >= '0' && text->ptr[at] <= '9') {
    if (__builtin_mul_overflow(*number, 10, number) || __builtin_add_overflow(*number, text->ptr[at] - '0', number))
      return false;
    at++;
  }
  bool found = at > 0;
  while (at < text->len && text->ptr[at] == ' ') at++;
  unit->ptr = text->ptr + at;
  unit->len = text->len - at;
  return found;
}

static bool duration(const policy_string_t *text, uint64_t *ms) {
  static const struct { const char *unit; uint64_t ms; } units[] = {
      {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
  policy_string_t unit;
  if (!number(text, ms, &unit)) return false;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (equals(&unit, units[i].unit)) return !__builtin_mul_overflow(*ms, units[i].ms, ms);
  return false;
}

static bool byte_size(const policy_string_t *text, uint64_t *bytes) {
  static const struct { const char *unit; uint64_t bytes; } units[] = {
      {"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  policy_string_t unit;
  if (!number(text, bytes, &unit)) return false;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (equals(&unit, units[i].unit)) return !__builtin_mul_overflow(*bytes, units[i].bytes, bytes);
  return false;
}

// Parses one of two words.
static bool either(const policy_string_t *text, const char *yes, const char *no, bool *answer) {
  *answer = equals(text, yes);
  return *answer || equals(text, no);
}

static bool configure_one(const policy_string_t *key, const policy_string_t *value, policy_string_t *error) {
  if (equals(key, "interval")) return duration(value, &settings.interval_ms) || refuse(error, key, value, DURATION);
  if (equals(key, "memory-limit")) return byte_size(value, &settings.memory_limit) || refuse(error, key, value, SIZE);
  if (equals(key, "reset"))
    return either(value, "daily", "never", &settings.daily_reset) ||
           refuse(error, key, value, "it can be \"daily\", \"never\"");
  if (equals(key, "start"))
    return either(value, "login", "authenticated", &settings.start_at_login) ||
           refuse(error, key, value, "it can be \"authenticated\", \"login\"");
  if (equals(key, "manner")) {
    // In the order of the enum in the WIT.
    static const char *manners[] = {"unchanged", "empty", "busy", "refuse", "disconnect"};
    for (uint8_t i = 0; i < 5; i++)
      if (equals(value, manners[i])) {
        settings.manner = i;
        return true;
      }
    return refuse(error, key, value,
                  "it can be \"unchanged\", \"empty\", \"busy\", \"refuse\", \"disconnect\"");
  }
  return refuse(error, key, value, "unknown setting; " KNOWN);
}

bool exports_policy_configure(policy_list_tuple2_string_string_t *given, policy_string_t *error) {
  bool good = true;
  for (size_t i = 0; good && i < given->len; i++) good = configure_one(&given->ptr[i].f0, &given->ptr[i].f1, error);
  policy_list_tuple2_string_string_free(given);
  return good;
}

static void pass(policy_verdict_t *verdict) {
  memset(verdict, 0, sizeof *verdict);
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_PASS;
}

static void deny(policy_verdict_t *verdict, uint8_t standing, uint64_t retry_after) {
  // If the password is not known, let the mail server answer.
  if (settings.manner >= REPRIEVE_POLICY_TYPES_MANNER_REFUSE && standing != REPRIEVE_POLICY_TYPES_STANDING_KNOWN) {
    pass(verdict);
    return;
  }
  memset(verdict, 0, sizeof *verdict);
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_DENY;
  verdict->val.deny.manner = settings.manner;
  verdict->val.deny.retry_after.is_some = true;
  verdict->val.deny.retry_after.val = retry_after > UINT32_MAX ? UINT32_MAX : (uint32_t)retry_after;
  policy_string_dup(&verdict->val.deny.reason, "too-soon");
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. The
// caller frees it.
static policy_string_t key_of(const reprieve_policy_types_claim_t *claim) {
  const policy_string_t *user = &claim->user, *acting = &claim->authorization_id.val;
  policy_string_t key;
  policy_string_dup_n(&key, (const char *)user->ptr, user->len);
  if (claim->authorization_id.is_some) {
    // User names contain no NUL.
    key.ptr = realloc(user->len > 0 ? key.ptr : NULL, user->len + 1 + acting->len);
    key.ptr[user->len] = 0;
    memcpy(key.ptr + user->len + 1, acting->ptr, acting->len);
    key.len = user->len + 1 + acting->len;
  }
  return key;
}

// A stamp: the time, and the date packed into a number.
static void stamp_of(const reprieve_policy_types_moment_t *time, uint8_t stamp[STAMP_BYTES]) {
  int32_t day = (time->date.year * 16 + time->date.month) * 32 + time->date.day;
  memcpy(stamp, &time->unix_ms, 8);
  memcpy(stamp + 8, &day, 4);
}

static uint32_t ttl(void) {
  uint64_t seconds = settings.interval_ms / 1000 + (settings.interval_ms % 1000 != 0);
  return seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

static void log_line(uint8_t level, const char *text) {
  policy_string_t line;
  policy_string_set(&line, text);
  reprieve_policy_log_line(level, &line);
}

static void remember(policy_string_t *key, uint8_t stamp[STAMP_BYTES]) {
  policy_list_u8_t value = {stamp, STAMP_BYTES};
  uint32_t seconds = ttl();
  reprieve_policy_store_refused_t refused;
  if (!reprieve_policy_store_set(key, &value, &seconds, &refused) && refused == REPRIEVE_POLICY_STORE_REFUSED_QUOTA) {
    log_line(REPRIEVE_POLICY_LOG_LEVEL_WARN,
        "the store's quota is reached before memory-limit: every user is forgotten");
    reprieve_policy_store_clear();
    reprieve_policy_store_set(key, &value, &seconds, &refused);
  }
}

// Whether the login passes; if not, sets the seconds until one would.
static bool passes(const policy_list_u8_t *found, const uint8_t now[STAMP_BYTES], uint32_t second_of_day,
                   uint64_t *retry_after) {
  if (!found || found->len != STAMP_BYTES) return true;
  if (settings.daily_reset && memcmp(found->ptr + 8, now + 8, 4) != 0) return true;
  uint64_t last_ms, now_ms;
  memcpy(&last_ms, found->ptr, 8);
  memcpy(&now_ms, now, 8);
  // If the clock was set back, the user passes.
  if (now_ms < last_ms || now_ms - last_ms >= settings.interval_ms) return true;
  uint64_t left_ms = settings.interval_ms - (now_ms - last_ms);
  *retry_after = left_ms / 1000 + (left_ms % 1000 != 0);
  if (settings.daily_reset) {
    uint64_t until_midnight = second_of_day > 86400 ? 0 : 86400 - second_of_day;
    if (*retry_after > until_midnight) *retry_after = until_midnight;
  }
  return false;
}

static void decide(const policy_login_t *login, policy_verdict_t *verdict) {
  pass(verdict);
  if (settings.interval_ms == 0) return;
  if (reprieve_policy_store_usage() > settings.memory_limit) {
    log_line(REPRIEVE_POLICY_LOG_LEVEL_INFO, "memory-limit reached: every user is forgotten");
    reprieve_policy_store_clear();
  }
  uint8_t now[STAMP_BYTES];
  stamp_of(&login->time, now);
  policy_string_t key = key_of(&login->claim);
  policy_list_u8_t found;
  bool is_found = reprieve_policy_store_get(&key, &found);
  uint64_t retry_after;
  if (!passes(is_found ? &found : NULL, now, login->time.second_of_day, &retry_after)) {
    deny(verdict, login->claim.standing, retry_after);
  } else if (settings.start_at_login) {
    // Of simultaneous logins, the first to write passes.
    policy_list_u8_t value = {now, STAMP_BYTES};
    uint32_t seconds = ttl();
    bool written;
    reprieve_policy_store_refused_t refused;
    bool done = is_found ? reprieve_policy_store_compare_and_set(&key, &found, &value, &seconds, &written, &refused)
                         : reprieve_policy_store_add(&key, &value, &seconds, &written, &refused);
    if (!done) {
      remember(&key, now);
    } else if (!written) {
      deny(verdict, login->claim.standing, settings.interval_ms / 1000 + (settings.interval_ms % 1000 != 0));
    }
  }
  if (is_found) policy_list_u8_free(&found);
  policy_string_free(&key);
}

void exports_policy_decide(policy_login_t *login, policy_verdict_t *verdict) {
  decide(login, verdict);
  policy_login_free(login);
}

void exports_policy_observe(policy_outcome_t *outcome) {
  if (!settings.start_at_login && settings.interval_ms > 0 &&
      outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) {
    uint8_t now[STAMP_BYTES];
    stamp_of(&outcome->time, now);
    policy_string_t key = key_of(&outcome->claim);
    remember(&key, now);
    policy_string_free(&key);
  }
  policy_outcome_free(outcome);
}
