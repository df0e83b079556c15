// At most so many polls an hour for each user, with bursts.
//
// The rule is a token bucket in its shortest form (the generic cell rate algorithm): of each
// user one number is remembered, the moment at which the bucket is full again. It needs no
// floating point, no list of past polls, and expires by itself.
//
// A login with a secret that is known takes its token in `decide`: nobody but the user can send
// it, and of several such logins at once each needs a token of its own. All others pay once the
// mail server has accepted them, so that a wrong password costs its victim nothing.
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS 3600000u
// One poll a second; and no sum of milliseconds or seconds below can overflow.
#define MOST 3600u
// Logins of one user at the same moment that all write; the last ones give up.
#define TRIES 8
// Clocks of proxies that share a store may differ by so much.
#define SKEW_MS 10000u
// In the outcome: the token is taken already.
#define NOTE "taken"

static struct {
  uint64_t each_ms; // a token comes back after this
  uint64_t burst;
  uint8_t manner;
} settings = {HOUR_MS / 60, 5, REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED};

static bool is(const policy_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

// So much of a text as an error shows of it, up to the end of a character.
static int shown(const policy_string_t *text, size_t most) {
  if (text->len <= most) return (int)text->len;
  while (most > 0 && (text->ptr[most] & 0xC0) == 0x80) most--;
  return (int)most;
}

static bool refuse(policy_string_t *error, const policy_string_t *key, const policy_string_t *value,
                   const char *right) {
  char text[640];
  int length = snprintf(text, sizeof text, "`%.*s` is \"%.*s\"; %s", shown(key, 100), key->ptr,
                        shown(value, 100), value->ptr, right);
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
    if (!number(value, &given)) return refuse(error, key, value, "a whole number from 1 to 3600, such as 60");
    // Rounded up: it is at most so many an hour.
    settings.each_ms = (HOUR_MS + given - 1) / given;
    return true;
  }
  if (is(key, "burst")) {
    if (!number(value, &given)) return refuse(error, key, value, "a whole number from 1 to 3600, such as 5");
    settings.burst = given;
    return true;
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
  return refuse(error, key, value, "the setting is unknown; known are per-hour, burst, manner");
}

bool exports_policy_configure(policy_list_tuple2_string_string_t *given, policy_string_t *error) {
  bool good = true;
  for (size_t i = 0; good && i < given->len; i++) good = configure_one(&given->ptr[i].f0, &given->ptr[i].f1, error);
  policy_list_tuple2_string_string_free(given);
  return good;
}

// The store's key: the names as the host gives them, so that a master user is another user for each
// maildrop that they act for. The caller frees it.
static policy_string_t key_of(const reprieve_policy_types_claim_t *claim) {
  const policy_string_t *user = &claim->user, *acting = &claim->authorization_id.val;
  policy_string_t key;
  policy_string_dup_n(&key, (const char *)user->ptr, user->len);
  if (claim->authorization_id.is_some) {
    // No name has a NUL in it.
    key.ptr = realloc(user->len > 0 ? key.ptr : NULL, user->len + 1 + acting->len);
    key.ptr[user->len] = 0;
    memcpy(key.ptr + user->len + 1, acting->ptr, acting->len);
    key.len = user->len + 1 + acting->len;
  }
  return key;
}

static uint64_t bucket_ms(void) { return settings.each_ms * settings.burst; }

// How much the user's bucket lacks, as the time in which that comes back.
static uint64_t lacks_ms(const policy_list_u8_t *found, uint64_t now_ms) {
  uint64_t full_ms;
  if (!found || found->len != sizeof full_ms) return 0;
  memcpy(&full_ms, found->ptr, sizeof full_ms);
  if (full_ms <= now_ms) return 0;
  if (full_ms - now_ms <= bucket_ms()) return full_ms - now_ms;
  // More than an empty bucket lacks. Another proxy's clock is a little ahead; or the clock was
  // set back, which must not keep anybody out.
  return full_ms - now_ms - bucket_ms() <= SKEW_MS ? bucket_ms() : 0;
}

// How long a login waits for a token; 0 where there is one.
static uint64_t wait_ms(uint64_t lacks) {
  uint64_t room_ms = bucket_ms() - settings.each_ms;
  return lacks > room_ms ? lacks - room_ms : 0;
}

static uint64_t look(policy_string_t *key, uint64_t now_ms) {
  policy_list_u8_t found;
  if (!reprieve_policy_store_get(key, &found)) return 0;
  uint64_t lacks = lacks_ms(&found, now_ms);
  policy_list_u8_free(&found);
  return wait_ms(lacks);
}

// Writes what a bucket lacks, if nobody has written since it was found. False where the store
// keeps nothing: the name is too long, or the store is full.
static bool write(policy_string_t *key, policy_list_u8_t *found, uint64_t now_ms, uint64_t lacks, bool *written) {
  uint64_t full_ms = now_ms + lacks;
  policy_list_u8_t value = {(uint8_t *)&full_ms, sizeof full_ms};
  uint32_t ttl = lacks > 0 ? (uint32_t)((lacks + 999) / 1000) : 1;
  reprieve_policy_store_refused_t refused;
  return found ? reprieve_policy_store_compare_and_set(key, found, &value, &ttl, written, &refused)
               : reprieve_policy_store_add(key, &value, &ttl, written, &refused);
}

typedef enum { TAKEN, EMPTY, NOT_KEPT } taken_t;

// Takes a token. Where there is none, tells how long to wait for it.
static taken_t take(policy_string_t *key, uint64_t now_ms, uint64_t *wait) {
  for (int tries = 0; tries < TRIES; tries++) {
    policy_list_u8_t found;
    bool is_found = reprieve_policy_store_get(key, &found);
    uint64_t lacks = lacks_ms(is_found ? &found : NULL, now_ms);
    bool is_kept = true, is_written = false;
    *wait = wait_ms(lacks);
    if (*wait == 0) is_kept = write(key, is_found ? &found : NULL, now_ms, lacks + settings.each_ms, &is_written);
    if (is_found) policy_list_u8_free(&found);
    if (*wait > 0) return EMPTY;
    if (!is_kept) return NOT_KEPT;
    if (is_written) return TAKEN;
  }
  return NOT_KEPT;
}

// Gives back the token of a login that came to nothing.
static void give_back(policy_string_t *key, uint64_t now_ms) {
  for (int tries = 0; tries < TRIES; tries++) {
    policy_list_u8_t found;
    if (!reprieve_policy_store_get(key, &found)) return; // Full again already.
    uint64_t lacks = lacks_ms(&found, now_ms);
    bool is_written = false;
    bool is_kept = write(key, &found, now_ms, lacks > settings.each_ms ? lacks - settings.each_ms : 0, &is_written);
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
  bool lets_nobody_in = settings.manner >= REPRIEVE_POLICY_TYPES_MANNER_REFUSE;
  uint64_t now_ms = login->time.unix_ms, wait;
  policy_string_t key = key_of(&login->claim);
  taken_t taken = NOT_KEPT;
  if (is_known) taken = take(&key, now_ms, &wait);
  else wait = look(&key, now_ms);
  // Whoever is not known is to hear the mail server's own answer.
  if (wait > 0 && (is_known || !lets_nobody_in)) deny(verdict, wait);
  else pass(verdict, taken == TAKEN ? NOTE : NULL);
  policy_string_free(&key);
  policy_login_free(login);
}

void exports_policy_observe(policy_outcome_t *outcome) {
  bool is_paid = outcome->note.is_some && is(&outcome->note.val, NOTE);
  bool is_accepted = outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED;
  uint64_t wait;
  if (is_accepted != is_paid) {
    policy_string_t key = key_of(&outcome->claim);
    // There may be no token to take: a denied login goes on where it cannot be posed for.
    if (is_accepted) take(&key, outcome->time.unix_ms, &wait);
    else give_back(&key, outcome->time.unix_ms);
    policy_string_free(&key);
  }
  policy_outcome_free(outcome);
}
