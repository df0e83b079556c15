// Limits the polls per hour of each user, with bursts.
//
// The rule is a token bucket in its shortest form (the generic cell rate algorithm): the time at
// which the bucket is full again is all that must be remembered. It needs no floating point and no
// list of past polls.
//
// A login with a known password takes its token in `decide`: only the user can send it, and each of
// several simultaneous logins needs its own token. All other logins pay when the mail server has
// accepted them, so that a wrong password costs the user nothing. A user with new mail takes none.
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef reprieve_policy_types_memory_t memory_t;
typedef reprieve_policy_types_moment_t moment_t;

#define HOUR_MS 3600000u
// One poll per second. With this maximum, no sum of times below can overflow.
#define MAX_TOKENS 3600u
// Maximum difference between the clocks of proxies that share a store.
#define MAX_SKEW_MS 10000u
// Note in the outcome: the login has taken its token already.
#define TOKEN_TAKEN "taken"
// Note in the outcome: the login takes no token, because the user has new mail.
#define NO_TOKEN "new-mail"

static struct {
  uint64_t token_ms; // time in which one token comes back
  uint64_t burst;
  uint32_t busy_after;
  uint8_t manner;
  bool count_upgrades;
} settings = {HOUR_MS / 60, 5, 0, REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED, true};

// Name, type, default and description of each setting.
static const char *const descriptions[][4] = {
    {"per-hour", "number", "60", "Tokens that come back per hour: 1 to 3600."},
    {"burst", "number", "5", "Tokens that the bucket holds: 1 to 3600."},
    {"manner", "unchanged|empty|busy|refuse|disconnect", "unchanged", "How a denial is shown."},
    {"upgrades", "count|ignore", "count",
     "Whether a denied login that continues at the mail server takes a token."},
    {"busy-after", "number", "0", "Upgrades in a row after which a denial is shown as busy; 0 for never."},
};
#define SETTINGS (sizeof descriptions / sizeof *descriptions)

void exports_reprieve_policy_settings_describe(exports_reprieve_policy_settings_list_setting_t *described) {
  described->len = SETTINGS;
  described->ptr = calloc(SETTINGS, sizeof *described->ptr);
  for (size_t i = 0; i < SETTINGS; i++) {
    exports_reprieve_policy_settings_setting_t *setting = &described->ptr[i];
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

// Parses a whole number in a range.
static bool number(const policy_string_t *text, uint64_t min, uint64_t max, uint64_t *number) {
  *number = 0;
  for (size_t i = 0; i < text->len; i++) {
    if (text->ptr[i] < '0' || text->ptr[i] > '9') return false;
    *number = *number * 10 + (text->ptr[i] - '0');
    if (*number > max) return false;
  }
  return *number >= min;
}

// Reprieve has checked that the value is of the setting's type. Returns what would be right, or NULL.
static const char *configure_one(const policy_string_t *key, const policy_string_t *value) {
  // In the order of the enum in the WIT.
  static const char *const manners[] = {"unchanged", "empty", "busy", "refuse", "disconnect"};
  uint64_t given;
  if (equals(key, "per-hour")) {
    if (!number(value, 1, MAX_TOKENS, &given)) return "a whole number from 1 to 3600, such as 60";
    // Rounded up, so that the limit per hour is never exceeded.
    settings.token_ms = (HOUR_MS + given - 1) / given;
  }
  if (equals(key, "burst")) {
    if (!number(value, 1, MAX_TOKENS, &given)) return "a whole number from 1 to 3600, such as 5";
    settings.burst = given;
  }
  if (equals(key, "busy-after")) {
    if (!number(value, 0, UINT32_MAX, &given)) return "a whole number up to 4294967295, such as 3";
    settings.busy_after = (uint32_t)given;
  }
  if (equals(key, "upgrades")) settings.count_upgrades = equals(value, "count");
  if (equals(key, "manner"))
    for (uint8_t i = 0; i < 5; i++)
      if (equals(value, manners[i])) settings.manner = i;
  return NULL;
}

bool exports_reprieve_policy_handler_configure(policy_list_tuple2_string_string_t *given, policy_string_t *error) {
  const char *right = NULL;
  for (size_t i = 0; !right && i < given->len; i++) {
    const policy_string_t *key = &given->ptr[i].f0, *value = &given->ptr[i].f1;
    right = configure_one(key, value);
    if (!right) continue;
    // Both are short: Reprieve has checked that they are a setting's name and a number.
    char text[128];
    int length = snprintf(text, sizeof text, "`%.*s` is \"%.*s\"; it must be %s", (int)key->len, key->ptr,
                          (int)value->len, value->ptr, right);
    policy_string_dup_n(error, text, length < (int)sizeof text ? length : (int)sizeof text - 1);
  }
  policy_list_tuple2_string_string_free(given);
  return right == NULL;
}

// What is remembered about a user, as four numbers:
// - first and second: the second and the millisecond when the bucket is full again,
// - third: upgrades since a login passed.

static uint64_t ms(uint64_t seconds, uint32_t milliseconds) { return seconds * 1000 + milliseconds; }

static uint64_t now_ms(const moment_t *time) { return ms(time->unix, time->millisecond); }

static uint64_t bucket_ms(void) { return settings.token_ms * settings.burst; }

// Upgrades take tokens from an empty bucket, too, but at most as many as the bucket holds.
static uint64_t max_missing_ms(void) { return 2 * bucket_ms(); }

// What is missing from the user's bucket, as the time in which it comes back.
static uint64_t missing_ms(const memory_t *memory, uint64_t now_ms) {
  uint64_t full_ms = ms(memory->first, memory->second);
  if (full_ms <= now_ms) return 0;
  uint64_t missing = full_ms - now_ms;
  if (missing <= max_missing_ms()) return missing;
  // More than can be missing. Within the skew, another proxy's clock is ahead; beyond it, the clock
  // was set back, and the bucket counts as full.
  return missing - max_missing_ms() <= MAX_SKEW_MS ? max_missing_ms() : 0;
}

// How long a login has to wait for a token; 0 if there is one.
static uint64_t wait_ms(uint64_t missing) {
  uint64_t room_ms = bucket_ms() - settings.token_ms;
  return missing > room_ms ? missing - room_ms : 0;
}

static void remember(memory_t *memory, uint64_t missing, uint64_t now_ms) {
  uint64_t full_ms = missing > 0 ? now_ms + missing : 0;
  memory->first = (uint32_t)(full_ms / 1000);
  memory->second = (uint32_t)(full_ms % 1000);
}

static void note(const char *text) {
  policy_string_t note;
  policy_string_set(&note, text);
  reprieve_policy_answer_note(&note);
}

static void deny(reprieve_policy_types_verdict_t *verdict, const memory_t *memory, uint64_t wait) {
  bool is_busy = settings.busy_after > 0 && memory->third >= settings.busy_after;
  verdict->deny.is_some = true;
  verdict->deny.val = is_busy ? REPRIEVE_POLICY_TYPES_MANNER_BUSY : settings.manner;
  verdict->retry_after.is_some = true;
  verdict->retry_after.val = (uint32_t)((wait + 999) / 1000);
  policy_string_t reason;
  policy_string_set(&reason, "over-quota");
  reprieve_policy_answer_reason(&reason);
}

// If another login of the user is remembered first, Reprieve decides this one again.
static void take_token(reprieve_policy_types_verdict_t *verdict, const memory_t *memory, uint64_t missing,
                       uint64_t now_ms) {
  verdict->remember.is_some = true;
  verdict->remember.val = *memory;
  remember(&verdict->remember.val, missing + settings.token_ms, now_ms);
  note(TOKEN_TAKEN);
}

void exports_reprieve_policy_handler_decide(reprieve_policy_types_login_t *login, memory_t *memory,
                                            reprieve_policy_types_verdict_t *verdict) {
  memset(verdict, 0, sizeof *verdict);
  if (login->freshness == REPRIEVE_POLICY_TYPES_FRESHNESS_NEW_MAIL) {
    note(NO_TOKEN);
    return;
  }
  bool is_known = login->standing == REPRIEVE_POLICY_TYPES_STANDING_KNOWN;
  bool is_refusal = settings.manner >= REPRIEVE_POLICY_TYPES_MANNER_REFUSE;
  uint64_t now = now_ms(&login->time), missing = missing_ms(memory, now), wait = wait_ms(missing);
  // If the password is not known, let the mail server answer instead of refusing the login.
  if (wait > 0 && (is_known || !is_refusal)) deny(verdict, memory, wait);
  else if (wait == 0 && is_known) take_token(verdict, memory, missing, now);
}

static bool has_note(const char *text) {
  policy_string_t note;
  if (!reprieve_policy_outcome_details_note(&note)) return false;
  bool has = equals(&note, text);
  policy_string_free(&note);
  return has;
}

bool exports_reprieve_policy_handler_observe(reprieve_policy_types_outcome_t *outcome, memory_t *memory,
                                             memory_t *remembered) {
  *remembered = *memory;
  bool is_accepted = outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED;
  uint64_t now = now_ms(&outcome->time), missing = missing_ms(memory, now);
  if (outcome->upgrade) {
    if (!is_accepted) return false;
    if (memory->third < UINT32_MAX) remembered->third++;
    if (settings.count_upgrades) missing += settings.token_ms;
    if (missing > max_missing_ms()) missing = max_missing_ms();
  } else if (is_accepted) {
    remembered->third = 0;
    // There may be no token: a denied login can reach the mail server if there is no snapshot.
    bool is_paid = has_note(TOKEN_TAKEN) || has_note(NO_TOKEN);
    if (!is_paid && wait_ms(missing) == 0) missing += settings.token_ms;
  } else {
    if (!has_note(TOKEN_TAKEN)) return false;
    missing = missing > settings.token_ms ? missing - settings.token_ms : 0;
  }
  remember(remembered, missing, now);
  return memcmp(remembered, memory, sizeof *memory) != 0;
}
