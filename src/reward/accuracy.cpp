// accuracy: 1 when the answer in the final segment is the reference answer, else 0.
//
// The reference cannot be parsed when it is missing, empty, not UTF-8, has unbalanced braces, a zero denominator or an
// exponent of more than 15 digits: such rows are reported when the dataset loads, and score NaN. Any other reference
// that is no number is text, compared without regard to case and optional space.
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "base/nearest.h"
#include "reward/answer.h"
#include "reward/extract.h"
#include "reward/registry.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxShownBytes = 80;

std::string shown(std::string_view text) {
  if (text.size() <= kMaxShownBytes) return "'" + std::string(text) + "'";
  std::size_t end = kMaxShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return "'" + std::string(text.substr(0, end)) + "...'";
}

class Accuracy final : public Reward {
 public:
  Accuracy(std::string name, std::vector<std::string> extract) : name_(std::move(name)), extract_(std::move(extract)) {}

  std::string_view name() const override { return name_; }
  double score(const RewardInput& input) const override { return judge(input).score; }

  Verdict judge(const RewardInput& input) const override {
    const Answer gold = parse_answer(input.reference());
    if (!input.has_reference() || !gold.fault.empty()) {
      return {std::numeric_limits<double>::quiet_NaN(), "unparsable_reference", fault(input.has_reference(), gold)};
    }
    const std::optional<std::string> extracted = extract_answer(input.segments(), extract_);
    const Answer predicted = parse_answer(extracted ? *extracted : "");
    if (!predicted.number && predicted.text.empty()) {
      if (input.finish_reason() == FinishReason::Length) return {0, "truncated", "cut off before an answer"};
      return {0, "no_answer",
              input.segments().has_final ? "no answer in the final segment" : "thinking was not closed"};
    }
    const bool is_correct = same_answer(gold, predicted);
    return {is_correct ? 1.0 : 0.0, is_correct ? "correct" : "incorrect",
            "answer " + shown(*extracted) + ", reference " + shown(input.reference())};
  }

  // Equal numbers have one spelling; "x =" before them and "%" after them do not count, as neither would keep one from
  // being right where the other is the reference.
  std::optional<std::string> answer(const RewardInput& input) const override {
    const std::optional<std::string> extracted = extract_answer(input.segments(), extract_);
    const Answer read = parse_answer(extracted ? *extracted : "");
    if (read.number) return lowest_terms(read.number->value);
    return read.text.empty() ? std::nullopt : std::optional(read.text);
  }

  void check_row(const Json& row, const std::optional<std::string>& reference) const override {
    const Answer gold = parse_answer(reference ? *reference : "");
    if (reference && gold.fault.empty()) return;
    const std::string where = row.where().empty() ? "" : row.where() + ": ";
    throw Error(where + "expected a reference answer, got " + (reference ? shown(*reference) + ": " : "") +
                fault(reference.has_value(), gold));
  }

 private:
  static std::string fault(bool has_reference, const Answer& gold) { return has_reference ? gold.fault : "none"; }

  std::string name_;
  std::vector<std::string> extract_;
};

}  // namespace

std::unique_ptr<Reward> make_accuracy(const std::string& name, const Json& params, const RewardContext&) {
  constexpr std::string_view kAllowed[] = {"extract"};
  check_params(name, params, kAllowed);
  std::vector<std::string> extract;
  const Json* list = params.find("extract");
  if (list == nullptr) return std::make_unique<Accuracy>(name, extract);
  const std::string at = (list->where().empty() ? "" : list->where() + ": ") + "rewards." + name + ".params.extract";
  GRPO_CHECK(list->is_list(), at + ": expected a list of anchor, last_number; got " + list->dump());
  for (const Json& method : list->as_list()) {
    const bool is_known = method == Json("anchor") || method == Json("last_number");
    GRPO_CHECK(is_known, at + ": expected anchor or last_number, got " + method.dump() +
                             (method.is_string() ? nearest_hint(method.as_string(), {"anchor", "last_number"}) : ""));
    extract.push_back(method.as_string());
  }
  return std::make_unique<Accuracy>(name, std::move(extract));
}

}  // namespace grpo::inline GRPO_ABI
