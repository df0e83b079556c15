// The default policy, `interval`, ported to C++: the same settings and verdicts. Uses the bindings
// for C.
#include "policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace {

using std::string, std::string_view;

struct Settings {
  uint64_t interval_ms = 600'000;
  uint64_t memory_limit = 32 << 20;
  bool daily_reset = true;
  bool start_at_login = false;
  uint8_t manner = REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED;
} settings;

string_view view(const policy_string_t &text) { return {reinterpret_cast<const char *>(text.ptr), text.len}; }

policy_string_t lend(string &text) { return {reinterpret_cast<uint8_t *>(text.data()), text.size()}; }

template <typename T> using Words = std::initializer_list<std::pair<string_view, T>>;

const Words<uint64_t> milliseconds{{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
const Words<uint64_t> bytes{{"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
// In the order of the enum in the WIT.
const Words<uint8_t> manners{{"unchanged", 0}, {"empty", 1}, {"busy", 2}, {"refuse", 3}, {"disconnect", 4}};

template <typename T> std::optional<T> find(string_view word, const Words<T> &words) {
  for (const auto &[known, meaning] : words)
    if (known == word) return meaning;
  return std::nullopt;
}

// Parses one of some words. Returns an error that lists them, or an empty string.
template <typename T> string choose(string_view value, const Words<T> &words, T &taken) {
  if (auto found = find(value, words)) return taken = *found, "";
  string right = "it can be ";
  for (const auto &[known, meaning] : words) right.append(right.back() == ' ' ? "\"" : ", \"").append(known).append("\"");
  return right;
}

// Parses a number with a unit. Returns what would be right, or an empty string.
string measure(string_view value, const Words<uint64_t> &units, string_view right, uint64_t &taken) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc()) return string(right);
  value.remove_prefix(end - value.data());
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  auto factor = find(value, units);
  return factor && !__builtin_mul_overflow(number, *factor, &taken) ? "" : string(right);
}

// Applies a setting. Returns what would be right, or an empty string.
string configure(string_view key, string_view value) {
  if (key == "interval")
    return measure(value, milliseconds, "a duration reads like \"90s\", \"10m\" or \"1h\"", settings.interval_ms);
  if (key == "memory-limit")
    return measure(value, bytes, "a size reads like \"100KiB\" or \"32MiB\"", settings.memory_limit);
  if (key == "reset") return choose<bool>(value, {{"daily", true}, {"never", false}}, settings.daily_reset);
  if (key == "manner") return choose(value, manners, settings.manner);
  if (key == "start") return choose<bool>(value, {{"authenticated", false}, {"login", true}}, settings.start_at_login);
  return "unknown setting; known settings: interval, reset, memory-limit, manner, start";
}

// Truncates a text for an error message, at a character boundary.
string_view truncated(string_view text) {
  size_t end = std::min<size_t>(text.size(), 200);
  while (end > 0 && end < text.size() && (text[end] & 0xC0) == 0x80) end--;
  return text.substr(0, end);
}

// When a user's clock was started: the time, and the date packed into a number.
struct Stamp {
  uint64_t unix_ms;
  int32_t day;

  using Bytes = std::array<uint8_t, 12>;

  explicit Stamp(const reprieve_policy_types_moment_t &time)
      : unix_ms(time.unix_ms), day((time.date.year * 16 + time.date.month) * 32 + time.date.day) {}

  explicit Stamp(const uint8_t *bytes) {
    std::memcpy(&unix_ms, bytes, sizeof unix_ms);
    std::memcpy(&day, bytes + sizeof unix_ms, sizeof day);
  }

  Bytes write() const {
    Bytes bytes;
    std::memcpy(bytes.data(), &unix_ms, sizeof unix_ms);
    std::memcpy(bytes.data() + sizeof unix_ms, &day, sizeof day);
    return bytes;
  }
};

// A value from the store, freed by the destructor.
class Found {
public:
  explicit Found(policy_string_t &key) : exists(reprieve_policy_store_get(&key, &bytes)) {}
  Found(const Found &) = delete;
  Found &operator=(const Found &) = delete;
  ~Found() {
    if (exists) policy_list_u8_free(&bytes);
  }

  std::optional<Stamp> stamp() const {
    if (!exists || bytes.len != Stamp::Bytes().size()) return std::nullopt;
    return Stamp(bytes.ptr);
  }

  // Writes unless another login has written since. Returns false if the store refuses.
  bool replace(policy_string_t &key, policy_list_u8_t &value, uint32_t ttl, bool &is_written) {
    reprieve_policy_store_refused_t refused;
    return exists ? reprieve_policy_store_compare_and_set(&key, &bytes, &value, &ttl, &is_written, &refused)
                    : reprieve_policy_store_add(&key, &value, &ttl, &is_written, &refused);
  }

private:
  policy_list_u8_t bytes{};
  bool exists;
};

uint64_t seconds(uint64_t ms) { return ms / 1000 + (ms % 1000 != 0); }

uint32_t saturate(uint64_t number) {
  return static_cast<uint32_t>(std::min<uint64_t>(number, std::numeric_limits<uint32_t>::max()));
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open.
string key_of(const reprieve_policy_types_claim_t &claim) {
  string key(view(claim.user));
  // User names contain no NUL.
  if (claim.authorization_id.is_some) key.append(1, '\0').append(view(claim.authorization_id.val));
  return key;
}

void log_line(uint8_t level, string text) {
  policy_string_t line = lend(text);
  reprieve_policy_log_line(level, &line);
}

void remember(policy_string_t &key, const Stamp &stamp) {
  auto bytes = stamp.write();
  policy_list_u8_t value{bytes.data(), bytes.size()};
  uint32_t ttl = saturate(seconds(settings.interval_ms));
  reprieve_policy_store_refused_t refused;
  if (reprieve_policy_store_set(&key, &value, &ttl, &refused) || refused != REPRIEVE_POLICY_STORE_REFUSED_QUOTA) return;
  log_line(REPRIEVE_POLICY_LOG_LEVEL_WARN, "the store's quota is reached before memory-limit: every user is forgotten");
  reprieve_policy_store_clear();
  reprieve_policy_store_set(&key, &value, &ttl, &refused);
}

// Seconds until a login would pass; nullopt if this one does.
std::optional<uint64_t> wait(const std::optional<Stamp> &last, const Stamp &now, uint32_t second_of_day) {
  if (!last || (settings.daily_reset && last->day != now.day)) return std::nullopt;
  // If the clock was set back, the user passes.
  if (now.unix_ms < last->unix_ms || now.unix_ms - last->unix_ms >= settings.interval_ms) return std::nullopt;
  uint64_t left = seconds(settings.interval_ms - (now.unix_ms - last->unix_ms));
  uint64_t until_midnight = 86'400 - std::min<uint64_t>(second_of_day, 86'400);
  return settings.daily_reset ? std::min(left, until_midnight) : left;
}

// Seconds until a login would pass, after the side effects of this one; nullopt if it passes.
std::optional<uint64_t> judge(const policy_login_t &login) {
  if (settings.interval_ms == 0) return std::nullopt;
  if (reprieve_policy_store_usage() > settings.memory_limit) {
    log_line(REPRIEVE_POLICY_LOG_LEVEL_INFO, "memory-limit reached: every user is forgotten");
    reprieve_policy_store_clear();
  }
  string user = key_of(login.claim);
  policy_string_t key = lend(user);
  Stamp now(login.time);
  Found found(key);
  auto left = wait(found.stamp(), now, login.time.second_of_day);
  if (left || !settings.start_at_login) return left;
  // Of simultaneous logins, the first to write passes.
  auto bytes = now.write();
  policy_list_u8_t value{bytes.data(), bytes.size()};
  bool is_written = false;
  if (!found.replace(key, value, saturate(seconds(settings.interval_ms)), is_written)) {
    remember(key, now);
    return std::nullopt;
  }
  return is_written ? std::nullopt : std::optional(seconds(settings.interval_ms));
}

} // namespace

extern "C" bool exports_policy_configure(policy_list_tuple2_string_string_t *given, policy_string_t *error) {
  bool is_valid = true;
  for (size_t i = 0; is_valid && i < given->len; i++) {
    string_view key = view(given->ptr[i].f0), value = view(given->ptr[i].f1);
    string right = configure(key, value);
    is_valid = right.empty();
    if (is_valid) continue;
    string text = "`" + string(truncated(key)) + "` is \"" + string(truncated(value)) + "\"; " + right;
    policy_string_dup_n(error, text.data(), text.size());
  }
  policy_list_tuple2_string_string_free(given);
  return is_valid;
}

extern "C" void exports_policy_decide(policy_login_t *login, policy_verdict_t *verdict) {
  auto left = judge(*login);
  // If the password is not known, let the mail server answer.
  bool is_refusal = settings.manner >= REPRIEVE_POLICY_TYPES_MANNER_REFUSE;
  bool is_known = login->claim.standing == REPRIEVE_POLICY_TYPES_STANDING_KNOWN;
  std::memset(verdict, 0, sizeof *verdict);
  verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_PASS;
  if (left && (is_known || !is_refusal)) {
    verdict->tag = REPRIEVE_POLICY_TYPES_VERDICT_DENY;
    verdict->val.deny.manner = settings.manner;
    verdict->val.deny.retry_after.is_some = true;
    verdict->val.deny.retry_after.val = saturate(*left);
    policy_string_dup(&verdict->val.deny.reason, "too-soon");
  }
  policy_login_free(login);
}

extern "C" void exports_policy_observe(policy_outcome_t *outcome) {
  bool is_accepted = outcome->ending == REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED;
  if (is_accepted && !settings.start_at_login && settings.interval_ms > 0) {
    string user = key_of(outcome->claim);
    policy_string_t key = lend(user);
    remember(key, Stamp(outcome->time));
  }
  policy_outcome_free(outcome);
}
