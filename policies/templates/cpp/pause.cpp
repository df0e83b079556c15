// A pause after each login: a user passes if their last login that the mail server accepted was at
// least `pause` seconds ago. Uses the bindings for C.
#include "policy.h"

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

uint32_t pause_s = 300;

std::string_view view(const policy_string_t &text) {
  return {reinterpret_cast<const char *>(text.ptr), text.len};
}

// Applies a setting, whose name and type Reprieve has checked. Returns what is wrong with it, or an
// empty string.
std::string configure(std::string_view key, std::string_view value) {
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), pause_s);
  if (error == std::errc() && end == value.data() + value.size()) return "";
  return "`" + std::string(key) + "` is \"" + std::string(value) + "\"; it must be a whole number of seconds";
}

} // namespace

// The settings, as `reprieve check` and `reprieve policy inspect` show them. The caller frees them.
extern "C" void exports_reprieve_policy_settings_describe(exports_reprieve_policy_settings_list_setting_t *described) {
  using Setting = exports_reprieve_policy_settings_setting_t;
  auto *pause = static_cast<Setting *>(std::calloc(1, sizeof(Setting)));
  policy_string_dup(&pause->name, "pause");
  policy_string_dup(&pause->type, "number");
  pause->default_.is_some = true;
  policy_string_dup(&pause->default_.val, "300");
  policy_string_dup(&pause->doc, "Seconds between two logins that reach the mail server; with 0 every login passes.");
  *described = {pause, 1};
}

extern "C" bool exports_reprieve_policy_handler_configure(policy_list_tuple2_string_string_t *settings,
                                                          policy_string_t *error) {
  std::string wrong;
  for (size_t i = 0; wrong.empty() && i < settings->len; i++)
    wrong = configure(view(settings->ptr[i].f0), view(settings->ptr[i].f1));
  if (!wrong.empty()) policy_string_dup_n(error, wrong.data(), wrong.size());
  policy_list_tuple2_string_string_free(settings);
  return wrong.empty();
}

extern "C" void exports_reprieve_policy_handler_decide(reprieve_policy_types_login_t *login,
                                                       reprieve_policy_types_memory_t *memory,
                                                       reprieve_policy_types_verdict_t *verdict) {
  *verdict = {}; // The login passes.
  // The second of the user's last login; 0 if nothing is remembered.
  uint32_t last = memory->first, now = login->time.unix;
  // If the clock was set back, the user passes.
  if (last > 0 && now >= last && now - last < pause_s) {
    verdict->deny = {true, REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED};
    verdict->retry_after = {true, pause_s - (now - last)};
  }
}

// Returns whether there is something new to remember.
extern "C" bool exports_reprieve_policy_handler_observe(reprieve_policy_types_outcome_t *outcome,
                                                        reprieve_policy_types_memory_t *memory,
                                                        reprieve_policy_types_memory_t *remember) {
  *remember = *memory;
  if (outcome->ending != REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED || pause_s == 0) return false;
  remember->first = outcome->time.unix;
  return true;
}
