// A pause after each login: a user passes if their last login that the mail server accepted was at
// least `pause` seconds ago. Uses the bindings for C.
#include "policy.h"

#include <charconv>
#include <string>
#include <string_view>

namespace {

uint32_t pause_s = 300;

std::string_view view(const policy_string_t &text) {
  return {reinterpret_cast<const char *>(text.ptr), text.len};
}

policy_string_t lend(std::string &text) {
  return {reinterpret_cast<uint8_t *>(text.data()), text.size()};
}

// Applies a setting. Returns what is wrong with it, or an empty string.
std::string configure(std::string_view key, std::string_view value) {
  if (key != "pause") return "unknown setting `" + std::string(key) + "`; known settings: pause";
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), pause_s);
  if (error != std::errc() || end != value.data() + value.size())
    return "`pause` is \"" + std::string(value) + "\"; it must be a whole number of seconds";
  return "";
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open.
std::string key_of(const reprieve_policy_types_claim_t &claim) {
  std::string key("user:");
  key += view(claim.user);
  // User names contain no NUL.
  if (claim.authorization_id.is_some) key.append(1, '\0').append(view(claim.authorization_id.val));
  return key;
}

} // namespace

extern "C" bool exports_policy_configure(policy_list_tuple2_string_string_t *settings, policy_string_t *error) {
  std::string wrong;
  for (size_t i = 0; wrong.empty() && i < settings->len; i++)
    wrong = configure(view(settings->ptr[i].f0), view(settings->ptr[i].f1));
  if (!wrong.empty()) policy_string_dup_n(error, wrong.data(), wrong.size());
  policy_list_tuple2_string_string_free(settings);
  return wrong.empty();
}

extern "C" void exports_policy_decide(policy_login_t *login, policy_verdict_t *verdict) {
  *verdict = {};
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_PASS;
  std::string text = key_of(login->claim);
  policy_string_t key = lend(text);
  policy_list_u8_t found;
  // The store forgets the user after `pause` seconds.
  if (pause_s > 0 && reprieve_policy_store_get(&key, &found)) {
    verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_DENY;
    verdict->val.deny = {};
    verdict->val.deny.manner = REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED;
    policy_string_dup(&verdict->val.deny.reason, "too-soon");
    policy_list_u8_free(&found);
  }
  policy_login_free(login);
}

extern "C" void exports_policy_observe(policy_outcome_t *outcome) {
  if (pause_s > 0 && outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) {
    std::string text = key_of(outcome->claim), one("1");
    policy_string_t key = lend(text);
    policy_list_u8_t value = {reinterpret_cast<uint8_t *>(one.data()), one.size()};
    reprieve_policy_store_refused_t refused;
    // If the name is too long or the store is full, the user passes.
    reprieve_policy_store_set(&key, &value, &pause_s, &refused);
  }
  policy_outcome_free(outcome);
}
