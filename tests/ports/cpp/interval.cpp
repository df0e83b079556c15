// The default policy, `interval`, ported to C++: the same settings and verdicts. Uses the bindings
// for C.
#include "policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace {

using std::string, std::string_view;
using Memory = reprieve_policy_types_memory_t;
using Moment = reprieve_policy_types_moment_t;
using Setting = exports_reprieve_policy_settings_setting_t;

// What a user takes in the store at most, unless their name is very long.
constexpr uint32_t entry_bytes = 512;
constexpr uint32_t max_u32 = std::numeric_limits<uint32_t>::max();

struct Settings {
  uint64_t interval_ms = 600'000;
  uint32_t memory_limit = 32 << 20;
  uint32_t busy_after = 0;
  bool daily_reset = true;
  bool start_at_login = false;
  bool count_upgrades = true;
  uint8_t manner = REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED;
} settings;

struct Description {
  const char *name, *type, *default_value, *doc;
};

constexpr std::array<Description, 7> descriptions{{
    {"interval", "duration", "10m", "How long Reprieve answers a user after a login; with 0s every login passes."},
    {"reset", "daily|never", "daily", "Whether each user passes once on a new day."},
    {"memory-limit", "size", "32MiB",
     "Maximum size of the remembered users; when it is exceeded, all users are forgotten."},
    {"manner", "unchanged|empty|busy|refuse|disconnect", "unchanged", "How a denial is shown."},
    {"start", "authenticated|login", "authenticated",
     "Whether the clock starts when the mail server accepts a login, or when a login passes."},
    {"upgrades", "count|ignore", "count",
     "Whether a denied login that continues at the mail server starts the clock again."},
    {"busy-after", "number", "0", "Upgrades in a row after which a denial is shown as busy; 0 for never."},
}};

string_view view(const policy_string_t &text) { return {reinterpret_cast<const char *>(text.ptr), text.len}; }

template <typename T> using Words = std::initializer_list<std::pair<string_view, T>>;

const Words<uint64_t> milliseconds{{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
const Words<uint64_t> bytes{{"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
const Words<uint64_t> one{{"", 1}};
// In the order of the enum in the WIT.
const Words<uint8_t> manners{{"unchanged", 0}, {"empty", 1}, {"busy", 2}, {"refuse", 3}, {"disconnect", 4}};

template <typename T> std::optional<T> find(string_view word, const Words<T> &words) {
  for (const auto &[known, meaning] : words)
    if (known == word) return meaning;
  return std::nullopt;
}

void skip_spaces(string_view &text) { text.remove_prefix(std::min(text.find_first_not_of(' '), text.size())); }

// The sum of numbers with units, such as `9m30s`; nullopt if it is another text, or too large.
std::optional<uint64_t> sum(string_view text, const Words<uint64_t> &units, uint64_t maximum) {
  uint64_t sum = 0;
  do {
    uint64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(end - text.data());
    skip_spaces(text);
    auto factor = find(text.substr(0, text.find_first_of("0123456789 ")), units);
    text.remove_prefix(std::min(text.find_first_of("0123456789 "), text.size()));
    skip_spaces(text);
    if (!factor || __builtin_mul_overflow(number, *factor, &number) || __builtin_add_overflow(sum, number, &sum) ||
        sum > maximum)
      return std::nullopt;
  } while (!text.empty());
  return sum;
}

// Reprieve has checked that the value is of the setting's type. Returns false if it is too large.
bool configure(string_view key, string_view value) {
  constexpr uint64_t max_u64 = std::numeric_limits<uint64_t>::max();
  std::optional<uint64_t> number = 0;
  if (key == "interval" && (number = sum(value, milliseconds, max_u64))) settings.interval_ms = *number;
  if (key == "memory-limit" && (number = sum(value, bytes, max_u64)))
    settings.memory_limit = static_cast<uint32_t>(std::min<uint64_t>(*number, max_u32));
  if (key == "busy-after" && (number = sum(value, one, max_u32))) settings.busy_after = static_cast<uint32_t>(*number);
  if (key == "reset") settings.daily_reset = value == "daily";
  if (key == "start") settings.start_at_login = value == "login";
  if (key == "upgrades") settings.count_upgrades = value == "count";
  if (key == "manner") settings.manner = find(value, manners).value_or(REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED);
  return number.has_value();
}

// What is remembered about a user, as four numbers:
// - first: the second when the clock was started; 0 if it is not running,
// - second: that moment's millisecond in the upper 11 bits, and its date in the others,
// - third: upgrades since a login passed.
constexpr int date_bits = 21;

uint32_t date_of(const Moment &time) {
  uint32_t year = static_cast<uint32_t>(std::abs(time.date.year));
  return (year & 0xFFF) << 9 | static_cast<uint32_t>(time.date.month) << 5 | time.date.day;
}

void start_clock(Memory &memory, const Moment &time) {
  memory.first = std::max<uint32_t>(time.unix, 1);
  memory.second = static_cast<uint32_t>(time.millisecond) << date_bits | date_of(time);
}

uint64_t ms(uint32_t seconds, uint32_t milliseconds) { return uint64_t{seconds} * 1000 + milliseconds; }

// Seconds until a login would pass; nullopt if this one does.
std::optional<uint32_t> wait(const Memory &memory, const Moment &now) {
  if (memory.first == 0) return std::nullopt;
  if (settings.daily_reset && (memory.second & ((1u << date_bits) - 1)) != date_of(now)) return std::nullopt;
  uint64_t last_ms = ms(memory.first, memory.second >> date_bits), now_ms = ms(now.unix, now.millisecond);
  // If the clock was set back, the user passes.
  if (now_ms < last_ms || now_ms - last_ms >= settings.interval_ms) return std::nullopt;
  uint64_t left_ms = settings.interval_ms - (now_ms - last_ms);
  uint64_t until_midnight = settings.daily_reset ? 86'400 - std::min<uint32_t>(now.second_of_day, 86'400) : max_u32;
  return static_cast<uint32_t>(std::min(left_ms / 1000 + (left_ms % 1000 != 0), until_midnight));
}

void forget_everybody(uint8_t level, const char *why) {
  policy_string_t line;
  policy_string_set(&line, why);
  reprieve_policy_log_line(level, &line);
  reprieve_policy_store_clear();
}

// Above the limit, all users are forgotten. If the store has no room for another user, too.
void limit_memory() {
  uint32_t used = reprieve_policy_store_usage();
  if (used > settings.memory_limit) {
    forget_everybody(REPRIEVE_POLICY_LOG_LEVEL_INFO, "memory-limit reached: every user is forgotten");
  } else if (used + uint64_t{entry_bytes} > reprieve_policy_store_quota()) {
    forget_everybody(REPRIEVE_POLICY_LOG_LEVEL_WARN,
                     "the store's quota is nearly reached before memory-limit: every user is forgotten");
  }
}

} // namespace

extern "C" void exports_reprieve_policy_settings_describe(exports_reprieve_policy_settings_list_setting_t *described) {
  described->len = descriptions.size();
  described->ptr = static_cast<Setting *>(std::calloc(descriptions.size(), sizeof(Setting)));
  for (size_t i = 0; i < descriptions.size(); i++) {
    Setting &setting = described->ptr[i];
    policy_string_dup(&setting.name, descriptions[i].name);
    policy_string_dup(&setting.type, descriptions[i].type);
    setting.default_.is_some = true;
    policy_string_dup(&setting.default_.val, descriptions[i].default_value);
    policy_string_dup(&setting.doc, descriptions[i].doc);
  }
}

extern "C" bool exports_reprieve_policy_handler_configure(policy_list_tuple2_string_string_t *given,
                                                          policy_string_t *error) {
  bool is_valid = true;
  for (size_t i = 0; is_valid && i < given->len; i++) {
    string_view key = view(given->ptr[i].f0);
    is_valid = configure(key, view(given->ptr[i].f1));
    if (is_valid) continue;
    string text = "`" + string(key) + "` is too large";
    policy_string_dup_n(error, text.data(), text.size());
  }
  policy_list_tuple2_string_string_free(given);
  return is_valid;
}

extern "C" void exports_reprieve_policy_handler_decide(reprieve_policy_types_login_t *login, Memory *memory,
                                                       reprieve_policy_types_verdict_t *verdict) {
  *verdict = {};
  if (settings.interval_ms == 0) return;
  auto left = wait(*memory, login->time);
  if (!left) {
    if (!settings.start_at_login) return;
    limit_memory();
    // Of simultaneous logins, the first to be remembered passes; the others are decided again.
    verdict->remember.is_some = true;
    start_clock(verdict->remember.val, login->time);
    return;
  }
  // If the password is not known, let the mail server answer.
  bool is_refusal = settings.manner >= REPRIEVE_POLICY_TYPES_MANNER_REFUSE;
  if (is_refusal && login->standing != REPRIEVE_POLICY_TYPES_STANDING_KNOWN) return;
  bool is_busy = settings.busy_after > 0 && memory->third >= settings.busy_after;
  verdict->deny = {true, is_busy ? uint8_t{REPRIEVE_POLICY_TYPES_MANNER_BUSY} : settings.manner};
  verdict->retry_after = {true, *left};
}

extern "C" bool exports_reprieve_policy_handler_observe(reprieve_policy_types_outcome_t *outcome, Memory *memory,
                                                        Memory *remember) {
  *remember = *memory;
  if (settings.interval_ms == 0 || outcome->ending != REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) return false;
  bool restarts = outcome->upgrade ? settings.count_upgrades : !settings.start_at_login;
  if (restarts) start_clock(*remember, outcome->time);
  if (!outcome->upgrade) remember->third = 0;
  else if (memory->third < max_u32) remember->third++;
  limit_memory();
  return true;
}
