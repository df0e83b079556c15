// A pause after each login: a user passes if their last login that the mail server accepted was at
// least `pause` seconds ago.
#include "policy.h"

#include <stdlib.h>
#include <string.h>

static uint32_t pause_s = 300;

static bool equals(const policy_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

static bool seconds(const policy_string_t *text, uint32_t *number) {
  uint64_t sum = 0;
  for (size_t i = 0; i < text->len; i++) {
    if (text->ptr[i] < '0' || text->ptr[i] > '9') return false;
    sum = sum * 10 + (text->ptr[i] - '0');
    if (sum > UINT32_MAX) return false;
  }
  *number = (uint32_t)sum;
  return text->len > 0;
}

bool exports_policy_configure(policy_list_tuple2_string_string_t *settings, policy_string_t *error) {
  const char *wrong = NULL;
  for (size_t i = 0; !wrong && i < settings->len; i++) {
    if (!equals(&settings->ptr[i].f0, "pause")) wrong = "unknown setting; known settings: pause";
    else if (!seconds(&settings->ptr[i].f1, &pause_s)) wrong = "`pause` must be a whole number of seconds";
  }
  if (wrong) policy_string_dup(error, wrong);
  policy_list_tuple2_string_string_free(settings);
  return wrong == NULL;
}

static void append(policy_string_t *text, const void *more, size_t length) {
  memcpy(text->ptr + text->len, more, length);
  text->len += length;
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. The caller frees it.
static policy_string_t key_of(const reprieve_policy_types_claim_t *claim) {
  static const char prefix[] = "user:";
  const policy_string_t *user = &claim->user, *acting = &claim->authorization_id.val;
  bool is_acting = claim->authorization_id.is_some;
  policy_string_t key = {malloc(sizeof prefix + user->len + (is_acting ? acting->len : 0)), 0};
  append(&key, prefix, sizeof prefix - 1);
  append(&key, user->ptr, user->len);
  if (is_acting) {
    // User names contain no NUL.
    append(&key, "", 1);
    append(&key, acting->ptr, acting->len);
  }
  return key;
}

void exports_policy_decide(policy_login_t *login, policy_verdict_t *verdict) {
  memset(verdict, 0, sizeof *verdict);
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_PASS;
  policy_string_t key = key_of(&login->claim);
  policy_list_u8_t found;
  // The store forgets the user after `pause` seconds.
  if (pause_s > 0 && reprieve_policy_store_get(&key, &found)) {
    verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_DENY;
    verdict->val.deny.manner = REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED;
    policy_string_dup(&verdict->val.deny.reason, "too-soon");
    policy_list_u8_free(&found);
  }
  policy_string_free(&key);
  policy_login_free(login);
}

void exports_policy_observe(policy_outcome_t *outcome) {
  if (pause_s > 0 && outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) {
    policy_string_t key = key_of(&outcome->claim);
    policy_list_u8_t value = {(uint8_t *)"1", 1};
    reprieve_policy_store_refused_t refused;
    // If the name is too long or the store is full, the user passes.
    reprieve_policy_store_set(&key, &value, &pause_s, &refused);
    policy_string_free(&key);
  }
  policy_outcome_free(outcome);
}
