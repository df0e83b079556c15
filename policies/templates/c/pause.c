// A pause after each login: a user passes if their last login that the mail server accepted was at
// least `pause` seconds ago.
#include "policy.h"

#include <stdlib.h>
#include <string.h>

static uint32_t pause_s = 300;

// The settings, as `reprieve check` and `reprieve policy inspect` show them. The caller frees them.
void exports_reprieve_policy_settings_describe(exports_reprieve_policy_settings_list_setting_t *described) {
  exports_reprieve_policy_settings_setting_t *pause = calloc(1, sizeof *pause);
  policy_string_dup(&pause->name, "pause");
  policy_string_dup(&pause->type, "number");
  pause->default_.is_some = true;
  policy_string_dup(&pause->default_.val, "300");
  policy_string_dup(&pause->doc, "Seconds between two logins that reach the mail server; with 0 every login passes.");
  described->ptr = pause;
  described->len = 1;
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

// Reprieve has checked the settings' names and types.
bool exports_reprieve_policy_handler_configure(policy_list_tuple2_string_string_t *settings, policy_string_t *error) {
  bool is_valid = true;
  for (size_t i = 0; is_valid && i < settings->len; i++) is_valid = seconds(&settings->ptr[i].f1, &pause_s);
  if (!is_valid) policy_string_dup(error, "`pause` must be a whole number of seconds");
  policy_list_tuple2_string_string_free(settings);
  return is_valid;
}

void exports_reprieve_policy_handler_decide(reprieve_policy_types_login_t *login,
                                            reprieve_policy_types_memory_t *memory,
                                            reprieve_policy_types_verdict_t *verdict) {
  memset(verdict, 0, sizeof *verdict); // The login passes.
  // The second of the user's last login; 0 if nothing is remembered.
  uint32_t last = memory->first, now = login->time.unix;
  // If the clock was set back, the user passes.
  if (last > 0 && now >= last && now - last < pause_s) {
    verdict->deny.is_some = true;
    verdict->deny.val = REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED;
    verdict->retry_after.is_some = true;
    verdict->retry_after.val = pause_s - (now - last);
  }
}

// Returns whether there is something new to remember.
bool exports_reprieve_policy_handler_observe(reprieve_policy_types_outcome_t *outcome,
                                             reprieve_policy_types_memory_t *memory,
                                             reprieve_policy_types_memory_t *remember) {
  *remember = *memory;
  if (outcome->ending != REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED || pause_s == 0) return false;
  remember->first = outcome->time.unix;
  return true;
}
