// Fields of a config.json. Each complaint is "<where>: <key>: expected <expected>, got <value>".
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

inline constexpr std::int64_t kMaxConfigInteger =
    std::numeric_limits<std::int32_t>::max();  // products of two fit int64

struct IntegerRange {
  std::int64_t least = 1, most = kMaxConfigInteger;
};

const Json* config_value(const Json& object, std::string_view key);  // null when the field is absent or null
// `at` gives the place: the field's value or the object that should have it.
[[noreturn]] void refuse_field(const Json& at, std::string_view key, const std::string& expected, const Json& got);

std::int64_t config_integer(const Json& object, std::string_view key, IntegerRange range = {});
std::int64_t config_integer_or(const Json& object, std::string_view key, std::int64_t fallback,
                               IntegerRange range = {});
double config_positive(const Json& object, std::string_view key);
double config_positive_or(const Json& object, std::string_view key, double fallback);
bool config_flag_or(const Json& object, std::string_view key, bool fallback);

// Refuses any other value than `expected`; absent and null are fine.
void require_setting(const Json& object, std::string_view key, const Json& expected);

}  // namespace grpo::inline GRPO_ABI
