// At most so many polls an hour for each user, with bursts.
//
// The rule is a token bucket in its shortest form (the generic cell rate algorithm): of each
// user one number is remembered, the moment at which the bucket is full again. It needs no
// floating point, no list of past polls, and expires by itself.
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS 3600000u
#define MOST 3600000u
// Logins of one user at the same moment that all write; the last ones give up.
#define TRIES 8

static struct {
  uint64_t each_ms; // a token comes back after this
  uint64_t burst;
  uint8_t manner;
  bool fold_case;
} settings = {HOUR_MS / 60, 5, REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED, true};

static bool is(const policy_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

static bool refuse(policy_string_t *error, const policy_string_t *key, const policy_string_t *value,
                   const char *right) {
  char text[640];
  int length = snprintf(text, sizeof text, "`%.*s` is \"%.*s\"; %s", key->len > 100 ? 100 : (int)key->len, key->ptr,
                        value->len > 100 ? 100 : (int)value->len, value->ptr, right);
  policy_string_dup_n(error, text, length);
  return false;
}

// A whole number from 1 to MOST.
static bool number(const policy_string_t *text, uint64_t *number) {
  *number = 0;
  for (size_t i = 0; i < text->len; i++) {
    if (text->ptr[i] < '0' || text->ptr[i] > '9') return false;
    *number = *number * 10 + (text->ptr[i] - '0');
    if (*number > MOST) return false;
  }
  return *number > 0;
}

static bool configure_one(const policy_string_t *key, const policy_string_t *value, policy_string_t *error) {
  uint64_t given;
  if (is(key, "per-hour")) {
    if (!number(value, &given)) return refuse(error, key, value, "a whole number from 1 to 3600000, such as 60");
    settings.each_ms = HOUR_MS / given;
    return true;
  }
  if (is(key, "burst")) {
    if (!number(value, &given)) return refuse(error, key, value, "a whole number from 1 to 3600000, such as 5");
    settings.burst = given;
    return true;
  }
  if (is(key, "case")) {
    settings.fold_case = is(value, "fold");
    return settings.fold_case || is(value, "exact") || refuse(error, key, value, "it can be \"fold\", \"exact\"");
  }
  if (is(key, "manner")) {
    // In the order of the WIT.
    static const char *manners[] = {"unchanged", "empty", "busy", "refuse", "disconnect"};
    for (uint8_t i = 0; i < 5; i++)
      if (is(value, manners[i])) {
        settings.manner = i;
        return true;
      }
    return refuse(error, key, value,
                  "it can be \"unchanged\", \"empty\", \"busy\", \"refuse\", \"disconnect\"");
  }
  return refuse(error, key, value, "the setting is unknown; known are per-hour, burst, manner, case");
}

bool exports_policy_configure(policy_list_tuple2_string_string_t *given, policy_string_t *error) {
  bool good = true;
  for (size_t i = 0; good && i < given->len; i++) good = configure_one(&given->ptr[i].f0, &given->ptr[i].f1, error);
  policy_list_tuple2_string_string_free(given);
  return good;
}

// The store's key: names that the mail server takes for one share it. The caller frees it.
static policy_string_t key_of(const policy_string_t *user) {
  policy_string_t key;
  policy_string_dup_n(&key, (const char *)user->ptr, user->len);
  for (size_t i = 0; settings.fold_case && i < key.len; i++)
    if (key.ptr[i] >= 'A' && key.ptr[i] <= 'Z') key.ptr[i] += 'a' - 'A';
  return key;
}

// When the user's bucket is full again; now, where it is full.
static uint64_t full_at(const policy_list_u8_t *found, uint64_t now_ms) {
  uint64_t full_ms;
  if (!found || found->len != sizeof full_ms) return now_ms;
  memcpy(&full_ms, found->ptr, sizeof full_ms);
  // More than an empty bucket needs: the clock was set back, which must not keep anybody out.
  if (full_ms < now_ms || full_ms - now_ms > settings.each_ms * settings.burst) return now_ms;
  return full_ms;
}

void exports_policy_decide(policy_login_t *login, policy_verdict_t *verdict) {
  memset(verdict, 0, sizeof *verdict);
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_PASS;
  policy_string_t key = key_of(&login->claim.user);
  policy_list_u8_t found;
  bool is_found = reprieve_policy_store_get(&key, &found);
  uint64_t now_ms = login->time.unix_ms;
  uint64_t missing_ms = full_at(is_found ? &found : NULL, now_ms) - now_ms;
  uint64_t room_ms = settings.each_ms * (settings.burst - 1);
  // Whoever is not known is to hear the mail server's own answer.
  bool is_shown = settings.manner < REPRIEVE_POLICY_TYPES_MANNER_REFUSE ||
                  login->claim.standing == REPRIEVE_POLICY_TYPES_STANDING_KNOWN;
  if (missing_ms > room_ms && is_shown) {
    verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_DENY;
    verdict->val.deny.manner = settings.manner;
    verdict->val.deny.retry_after.is_some = true;
    verdict->val.deny.retry_after.val = (uint32_t)((missing_ms - room_ms + 999) / 1000);
    policy_string_dup(&verdict->val.deny.reason, "over-quota");
  }
  if (is_found) policy_list_u8_free(&found);
  policy_string_free(&key);
  policy_login_free(login);
}

// Takes a token.
static void take(policy_string_t *key, uint64_t now_ms) {
  for (int tries = 0; tries < TRIES; tries++) {
    policy_list_u8_t found;
    bool is_found = reprieve_policy_store_get(key, &found);
    uint64_t full_ms = full_at(is_found ? &found : NULL, now_ms) + settings.each_ms;
    policy_list_u8_t value = {(uint8_t *)&full_ms, sizeof full_ms};
    uint32_t ttl = (uint32_t)((full_ms - now_ms + 999) / 1000);
    bool written = false;
    reprieve_policy_store_refused_t refused;
    bool done = is_found ? reprieve_policy_store_compare_and_set(key, &found, &value, &ttl, &written, &refused)
                         : reprieve_policy_store_add(key, &value, &ttl, &written, &refused);
    if (is_found) policy_list_u8_free(&found);
    // A name that is too long, or a store that is full: such a login costs nothing.
    if (!done || written) return;
  }
}

void exports_policy_observe(policy_outcome_t *outcome) {
  if (outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) {
    policy_string_t key = key_of(&outcome->claim.user);
    take(&key, outcome->time.unix_ms);
    policy_string_free(&key);
  }
  policy_outcome_free(outcome);
}
