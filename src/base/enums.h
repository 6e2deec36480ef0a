// The names of the configuration's enums, each in one table: what files say, what is printed, what errors list.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <grpo/config.h>

namespace grpo::inline GRPO_ABI {

template <class E>
struct EnumName {
  E value;
  std::string_view name;
};

// A value's first name is the one that is printed; further ones are accepted.
template <class E>
std::span<const EnumName<E>> enum_names();

template <class E>
std::string_view enum_name(E value) {
  for (const auto& entry : enum_names<E>()) {
    if (entry.value == value) return entry.name;
  }
  throw Error("an enum value without a name: " + std::to_string(static_cast<int>(value)), ErrorKind::Internal);
}

template <class E>
std::optional<E> enum_from_name(std::string_view name) {
  for (const auto& entry : enum_names<E>()) {
    if (entry.name == name) return entry.value;
  }
  return std::nullopt;
}

// Every name that is accepted.
template <class E>
std::vector<std::string> enum_accepted() {
  std::vector<std::string> names;
  for (const auto& entry : enum_names<E>()) names.emplace_back(entry.name);
  return names;
}

// "a, b or c": every value once, by its first name.
template <class E>
std::string enum_choices() {
  std::string text;
  const auto names = enum_names<E>();
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool first = std::none_of(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i),
                                    [&](const auto& entry) { return entry.value == names[i].value; });
    if (!first) continue;
    if (!text.empty()) text += ", ";
    text += names[i].name;
  }
  const std::size_t comma = text.rfind(", ");
  return comma == text.npos ? text : text.substr(0, comma) + " or " + text.substr(comma + 2);
}

}  // namespace grpo::inline GRPO_ABI
