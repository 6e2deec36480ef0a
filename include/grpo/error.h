// The one exception of the library, and the two checks that throw it.
//
// Thread-safe. A message starts with the function or the dotted config path it speaks of and says what was
// expected and what came. The program turns `ErrorKind` into its exit code.
#pragma once

#include <stdexcept>
#include <string>

#include <grpo/export.h>

namespace grpo::inline GRPO_ABI {

enum class ErrorKind {
  User,      // bad input: config, weights, data, arguments (exit code 2)
  Internal,  // a broken invariant of ours (exit code 1)
  Guard,     // a run stopped by its own rules: non-finite values, failure fraction (exit code 3)
};

class GRPO_API Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorKind kind = ErrorKind::User)
      : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

namespace detail {
[[noreturn]] GRPO_API void assertion_failed(const char* condition, const char* file, int line);
}  // namespace detail

}  // namespace grpo::inline GRPO_ABI

// What a caller can get wrong. `message` (a std::string) is built only on failure.
#define GRPO_CHECK(condition, message)              \
  do {                                              \
    if (!(condition)) throw ::grpo::Error(message); \
  } while (false)

// What only we can get wrong; always on.
#define GRPO_ASSERT(condition) ((condition) ? void() : ::grpo::detail::assertion_failed(#condition, __FILE__, __LINE__))
