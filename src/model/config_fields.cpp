#include "model/config_fields.h"

#include <fmt/format.h>

namespace grpo::inline GRPO_ABI {

const Json* config_value(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value && !value->is_null() ? value : nullptr;
}

void refuse_field(const Json& at, std::string_view key, const std::string& expected, const Json& got) {
  const std::string where = at.where().empty() ? "model config" : at.where();
  throw Error(fmt::format("{}: {}: expected {}, got {}", where, key, expected, got.dump().substr(0, 100)));
}

std::int64_t config_integer(const Json& object, std::string_view key, IntegerRange range) {
  const Json* value = config_value(object, key);
  if (value && value->is_int() && value->as_int() >= range.least && value->as_int() <= range.most) {
    return value->as_int();
  }
  refuse_field(value ? *value : object, key, fmt::format("an integer from {} to {}", range.least, range.most),
               value ? *value : Json());
}

std::int64_t config_integer_or(const Json& object, std::string_view key, std::int64_t fallback, IntegerRange range) {
  return config_value(object, key) ? config_integer(object, key, range) : fallback;
}

double config_positive(const Json& object, std::string_view key) {
  const Json* value = config_value(object, key);
  if (value && value->is_number() && value->as_double() > 0 && value->as_double() < 1e300) return value->as_double();
  refuse_field(value ? *value : object, key, "a positive number", value ? *value : Json());
}

double config_positive_or(const Json& object, std::string_view key, double fallback) {
  return config_value(object, key) ? config_positive(object, key) : fallback;
}

bool config_flag_or(const Json& object, std::string_view key, bool fallback) {
  const Json* value = config_value(object, key);
  if (!value) return fallback;
  if (!value->is_bool()) refuse_field(*value, key, "true or false", *value);
  return value->as_bool();
}

void require_setting(const Json& object, std::string_view key, const Json& expected) {
  const Json* value = config_value(object, key);
  if (!value) return;
  const bool same =
      value->is_number() && expected.is_number() ? value->as_double() == expected.as_double() : *value == expected;
  if (!same) refuse_field(*value, key, expected.dump() + " (nothing else is supported)", *value);
}

}  // namespace grpo::inline GRPO_ABI
