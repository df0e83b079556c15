// Limits the polls per hour of each user, with bursts.
//
// The rule is a token bucket in its shortest form (the generic cell rate algorithm): the store has
// one number per user, the time at which the bucket is full again. It needs no floating point and
// no list of past polls, and the entry expires by itself.
//
// A login with a known password takes its token in `decide`: only the user can send it, and each of
// several simultaneous logins needs its own token. All other logins pay when the mail server has
// accepted them, so that a wrong password costs the user nothing.
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS 3600000u
// One poll per second. With this maximum, no sum of times below can overflow.
#define MAX_TOKENS 3600u
// How often a write is retried if another login of the user wrote first.
#define MAX_TRIES 8
// Maximum difference between the clocks of proxies that share a store.
#define MAX_SKEW_MS 10000u
// Note in the outcome: the login has taken its token already.
#define TOKEN_TAKEN "taken"

static struct {
  uint64_t token_ms; // time in which one token comes back
  uint64_t burst;
  uint8_t manner;
} settings = {HOUR_MS / 60, 5, REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED};

static bool equals(const policy_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

// Length of a text truncated for an error message, at a character boundary.
static int truncated(const policy_string_t *text, size_t max) {
  if (text->len <= max) return (int)text->len;
  while (max > 0 && (text->ptr[max] & 0xC0) == 0x80) max--;
  return (int)max;
}

static bool refuse(policy_string_t *error, const policy_string_t *key, const policy_string_t *value,
                   const char *right) {
  char text[640];
  int length = snprintf(text, sizeof text, "`%.*s` is \"%.*s\"; %s", truncated(key, 100), key->ptr,
                        truncated(value, 100), value->ptr, right);
  policy_string_dup_n(error, text, length);
  return false;
}

// Parses a whole number from 1 to MAX_TOKENS.
static bool number(const policy_string_t *text, uint64_t *number) {
  *number = 0;
  for (size_t i = 0; i < text->len; i++) {
    if (text->ptr[i] < '0' || text->ptr[i] > '9') return false;
    *number = *number * 10 + (text->ptr[i] - '0');
    if (*number > MAX_TOKENS) return false;
  }
  return *number > 0;
}

static bool configure_one(const policy_string_t *key, const policy_string_t *value, policy_string_t *error) {
  uint64_t given;
  if (equals(key, "per-hour")) {
    if (!number(value, &given)) return refuse(error, key, value, "a whole number from 1 to 3600, such as 60");
    // Rounded up, so that the limit per hour is never exceeded.
    settings.token_ms = (HOUR_MS + given - 1) / given;
    return true;
  }
  if (equals(key, "burst")) {
    if (!number(value, &given)) return refuse(error, key, value, "a whole number from 1 to 3600, such as 5");
    settings.burst = given;
    return true;
  }
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
  return refuse(error, key, value, "unknown setting; known settings: per-hour, burst, manner");
}

bool exports_policy_configure(policy_list_tuple2_string_string_t *given, policy_string_t *error) {
  bool good = true;
  for (size_t i = 0; good && i < given->len; i++) good = configure_one(&given->ptr[i].f0, &given->ptr[i].f1, error);
  policy_list_tuple2_string_string_free(given);
  return good;
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

static uint64_t bucket_ms(void) { return settings.token_ms * settings.burst; }

// What is missing from the user's bucket, as the time in which it comes back.
static uint64_t missing_ms(const policy_list_u8_t *found, uint64_t now_ms) {
  uint64_t full_ms;
  if (!found || found->len != sizeof full_ms) return 0;
  memcpy(&full_ms, found->ptr, sizeof full_ms);
  if (full_ms <= now_ms) return 0;
  if (full_ms - now_ms <= bucket_ms()) return full_ms - now_ms;
  // More than an empty bucket can lack. Within the skew, another proxy's clock is ahead and the
  // bucket is empty; beyond it, the clock was set back, and the bucket counts as full.
  return full_ms - now_ms - bucket_ms() <= MAX_SKEW_MS ? bucket_ms() : 0;
}

// How long a login has to wait for a token; 0 if there is one.
static uint64_t wait_ms(uint64_t missing) {
  uint64_t room_ms = bucket_ms() - settings.token_ms;
  return missing > room_ms ? missing - room_ms : 0;
}

static uint64_t peek(policy_string_t *key, uint64_t now_ms) {
  policy_list_u8_t found;
  if (!reprieve_policy_store_get(key, &found)) return 0;
  uint64_t missing = missing_ms(&found, now_ms);
  policy_list_u8_free(&found);
  return wait_ms(missing);
}

// Writes what is missing from a bucket, unless another login has written since it was read. Returns
// false if the store refuses: the name is too long, or the store is full.
static bool write(policy_string_t *key, policy_list_u8_t *found, uint64_t now_ms, uint64_t missing, bool *written) {
  uint64_t full_ms = now_ms + missing;
  policy_list_u8_t value = {(uint8_t *)&full_ms, sizeof full_ms};
  uint32_t ttl = missing > 0 ? (uint32_t)((missing + 999) / 1000) : 1;
  reprieve_policy_store_refused_t refused;
  return found ? reprieve_policy_store_compare_and_set(key, found, &value, &ttl, written, &refused)
               : reprieve_policy_store_add(key, &value, &ttl, written, &refused);
}

typedef enum { TAKEN, EMPTY, NOT_KEPT } taken_t;

// Takes a token. If there is none, `wait` is the time until there is one.
static taken_t take(policy_string_t *key, uint64_t now_ms, uint64_t *wait) {
  for (int tries = 0; tries < MAX_TRIES; tries++) {
    policy_list_u8_t found;
    bool is_found = reprieve_policy_store_get(key, &found);
    uint64_t missing = missing_ms(is_found ? &found : NULL, now_ms);
    bool is_kept = true, is_written = false;
    *wait = wait_ms(missing);
    if (*wait == 0) is_kept = write(key, is_found ? &found : NULL, now_ms, missing + settings.token_ms, &is_written);
    if (is_found) policy_list_u8_free(&found);
    if (*wait > 0) return EMPTY;
    if (!is_kept) return NOT_KEPT;
    if (is_written) return TAKEN;
  }
  return NOT_KEPT;
}

// Returns the token of a login that the mail server did not accept.
static void give_back(policy_string_t *key, uint64_t now_ms) {
  for (int tries = 0; tries < MAX_TRIES; tries++) {
    policy_list_u8_t found;
    if (!reprieve_policy_store_get(key, &found)) return; // The bucket is full again.
    uint64_t missing = missing_ms(&found, now_ms);
    bool is_written = false;
    bool is_kept = write(key, &found, now_ms, missing > settings.token_ms ? missing - settings.token_ms : 0, &is_written);
    policy_list_u8_free(&found);
    if (is_written || !is_kept) return;
  }
}

static void pass(policy_verdict_t *verdict, const char *note) {
  memset(verdict, 0, sizeof *verdict);
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_PASS;
  if (!note) return;
  verdict->val.pass.note.is_some = true;
  policy_string_dup(&verdict->val.pass.note.val, note);
}

static void deny(policy_verdict_t *verdict, uint64_t wait) {
  memset(verdict, 0, sizeof *verdict);
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_DENY;
  verdict->val.deny.manner = settings.manner;
  verdict->val.deny.retry_after.is_some = true;
  verdict->val.deny.retry_after.val = (uint32_t)((wait + 999) / 1000);
  policy_string_dup(&verdict->val.deny.reason, "over-quota");
}

void exports_policy_decide(policy_login_t *login, policy_verdict_t *verdict) {
  bool is_known = login->claim.standing == REPRIEVE_POLICY_TYPES_STANDING_KNOWN;
  bool is_refusal = settings.manner >= REPRIEVE_POLICY_TYPES_MANNER_REFUSE;
  uint64_t now_ms = login->time.unix_ms, wait;
  policy_string_t key = key_of(&login->claim);
  taken_t taken = NOT_KEPT;
  if (is_known) taken = take(&key, now_ms, &wait);
  else wait = peek(&key, now_ms);
  // If the password is not known, let the mail server answer.
  if (wait > 0 && (is_known || !is_refusal)) deny(verdict, wait);
  else pass(verdict, taken == TAKEN ? TOKEN_TAKEN : NULL);
  policy_string_free(&key);
  policy_login_free(login);
}

void exports_policy_observe(policy_outcome_t *outcome) {
  bool is_paid = outcome->note.is_some && equals(&outcome->note.val, TOKEN_TAKEN);
  bool is_accepted = outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED;
  uint64_t wait;
  if (is_accepted != is_paid) {
    policy_string_t key = key_of(&outcome->claim);
    // There may be no token: a denied login can reach the mail server if there is no snapshot.
    if (is_accepted) take(&key, outcome->time.unix_ms, &wait);
    else give_back(&key, outcome->time.unix_ms);
    policy_string_free(&key);
  }
  policy_outcome_free(outcome);
}
