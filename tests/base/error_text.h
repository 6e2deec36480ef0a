// What an expression's Error says; fails the test when it throws none.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

template <class F>
std::string error_text(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

}  // namespace grpo::inline GRPO_ABI
