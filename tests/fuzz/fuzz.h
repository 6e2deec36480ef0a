// What every fuzzer has in common. Untrusted input may make the code under test throw Error, and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <grpo/error.h>

namespace grpo::fuzz {

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

inline void expect(bool holds, const char* property) {
  if (!holds) fail(property);
}

// False when `call` threw an Error. A broken invariant of ours is a finding.
template <class Call>
bool accepts(Call&& call) {
  try {
    call();
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::Internal) fail(error.what());
    return false;
  }
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Two inputs in one: before and after the first NUL.
struct Halves {
  std::string_view first, second;
};
inline Halves halves_of(std::string_view text) {
  const std::size_t at = text.find('\0');
  return at == std::string_view::npos ? Halves{text, {}} : Halves{text.substr(0, at), text.substr(at + 1)};
}

}  // namespace grpo::fuzz
