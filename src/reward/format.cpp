// format: does the completion have the tags that the prompt asked for? Never looks at correctness.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/nearest.h"
#include "reward/registry.h"
#include "reward/segments.h"
#include "reward/tag_skeleton.h"
#include "reward/template_similarity.h"

namespace grpo::inline GRPO_ABI {
namespace {

enum class FormatMode { Strict, StrictThink, Soft, TagCount, Graded, CosineTemplate };
constexpr std::array<std::pair<std::string_view, FormatMode>, 6> kModes = {{
    {"strict", FormatMode::Strict},
    {"strict_think", FormatMode::StrictThink},
    {"soft", FormatMode::Soft},
    {"tag_count", FormatMode::TagCount},
    {"graded", FormatMode::Graded},
    {"cosine_template", FormatMode::CosineTemplate},
}};

enum class Prefilled { Auto, Yes, No };

struct FormatParams {
  FormatMode mode = FormatMode::Strict;
  Prefilled prefilled = Prefilled::Auto;
  std::size_t min_think_chars = 1;
  double power = 2;  // cosine_template
};

using Pieces = std::vector<Piece>;

bool think_pair(const TagSkeleton& s) { return s.is_pair(Piece::ThinkOpen, Piece::ThinkClose); }
bool answer_pair(const TagSkeleton& s) { return s.is_pair(Piece::AnswerOpen, Piece::AnswerClose); }

// The answer pair begins after the think pair has ended.
bool in_order(const TagSkeleton& s) {
  return think_pair(s) && answer_pair(s) && s.place(Piece::ThinkClose) < s.place(Piece::AnswerOpen);
}

bool has_text_after(const TagSkeleton& s, Piece tag) {
  const std::size_t next = s.place(tag) + 1;
  return next < s.pieces.size() && s.pieces[next] == Piece::Text;
}

// No text before the think pair, between the pairs or after the answer pair.
bool nothing_outside(const TagSkeleton& s) {
  bool in_think = false, in_answer = false;
  for (const Piece piece : s.pieces) {
    switch (piece) {
      case Piece::ThinkOpen:
        in_think = true;
        break;
      case Piece::ThinkClose:
        in_think = false;
        break;
      case Piece::AnswerOpen:
        in_answer = true;
        break;
      case Piece::AnswerClose:
        in_answer = false;
        break;
      case Piece::Text:
        if (!in_think && !in_answer) return false;
    }
  }
  return true;
}

// A quarter for each tag that occurs once; a quarter less for each pair that ends before it begins, and for an answer
// pair that begins before the think pair has ended.
double tag_count(const TagSkeleton& s) {
  double score = 0;
  for (const std::size_t count : s.counts) score += count == 1 ? 0.25 : 0;
  if (s.once(Piece::ThinkOpen, Piece::ThinkClose) && !think_pair(s)) score -= 0.25;
  if (s.once(Piece::AnswerOpen, Piece::AnswerClose) && !answer_pair(s)) score -= 0.25;
  if (think_pair(s) && answer_pair(s) && !in_order(s)) score -= 0.25;
  return std::max(score, 0.0);
}

// A quarter each: think pair, answer pair, their order, nothing outside and nothing empty.
double graded(const TagSkeleton& s, bool long_enough) {
  double score = 0;
  if (think_pair(s)) score += 0.25;
  if (answer_pair(s)) score += 0.25;
  if (in_order(s)) score += 0.25;
  const bool is_full = think_pair(s) && answer_pair(s) && long_enough && has_text_after(s, Piece::ThinkOpen) &&
                       has_text_after(s, Piece::AnswerOpen);
  if (is_full && nothing_outside(s)) score += 0.25;
  return score;
}

// What is first wrong with a text that should be <think>T</think> and then `tail`.
Verdict wrong_format(const TagSkeleton& s, bool wants_answer, bool long_enough) {
  const std::size_t tags = s.counts[0] + s.counts[1] + s.counts[2] + s.counts[3];
  if (tags == 0) return {0, "no_tags", "no think or answer tag"};
  for (std::size_t tag = 0; tag < (wants_answer ? kNumTags : 2); ++tag) {
    if (s.counts[tag] == 0) return {0, "missing_tag", "a tag is missing"};
    if (s.counts[tag] > 1) return {0, "repeated_tag", "a tag occurs more than once"};
  }
  if (wants_answer ? !in_order(s) : !think_pair(s)) return {0, "wrong_order", "the tags are in a wrong order"};
  if (!long_enough) return {0, "empty_part", "the thinking is empty or shorter than min_think_chars"};
  if (wants_answer && !has_text_after(s, Piece::AnswerOpen)) return {0, "empty_part", "the answer is empty"};
  if (!wants_answer && s.counts[2] + s.counts[3] > 0) return {0, "extra_tag", "answer tags in a think-only format"};
  if (!wants_answer && s.pieces.back() != Piece::Text) return {0, "empty_part", "no answer after the thinking"};
  return {0, "text_outside", "text outside of the tags"};
}

class Format final : public Reward {
 public:
  Format(std::string name, FormatParams params) : name_(std::move(name)), params_(params) {}

  std::string_view name() const override { return name_; }
  double score(const RewardInput& input) const override { return judge(input).score; }

  Verdict judge(const RewardInput& input) const override {
    static const Pieces kStrict = {Piece::ThinkOpen,  Piece::Text, Piece::ThinkClose,
                                   Piece::AnswerOpen, Piece::Text, Piece::AnswerClose};
    static const Pieces kStrictThink = {Piece::ThinkOpen, Piece::Text, Piece::ThinkClose, Piece::Text};
    const bool prefilled = params_.prefilled == Prefilled::Yes ||
                           (params_.prefilled == Prefilled::Auto && ends_inside_think(input.prompt()));
    const TagSkeleton skeleton(input.completion(), prefilled);
    const bool long_enough = skeleton.think_chars >= params_.min_think_chars;
    bool is_right = false;
    switch (params_.mode) {
      case FormatMode::Strict:
        is_right = skeleton.pieces == kStrict && long_enough;
        break;
      case FormatMode::StrictThink:
        is_right = skeleton.pieces == kStrictThink && long_enough;
        break;
      case FormatMode::Soft:
        is_right = in_order(skeleton) && has_text_after(skeleton, Piece::AnswerOpen);
        break;
      case FormatMode::TagCount:
        return partial(tag_count(skeleton));
      case FormatMode::Graded:
        return partial(graded(skeleton, long_enough));
      case FormatMode::CosineTemplate:
        return partial(std::pow(template_similarity(skeleton.pieces, kStrict), params_.power));
    }
    if (is_right) return {1, "well_formed", ""};
    return wrong_format(skeleton, params_.mode != FormatMode::StrictThink,
                        long_enough || params_.mode == FormatMode::Soft);
  }

 private:
  static Verdict partial(double score) {
    return {score, score >= 1 ? "well_formed" : score > 0 ? "partly_formed" : "malformed", ""};
  }

  std::string name_;
  FormatParams params_;
};

}  // namespace

std::unique_ptr<Reward> make_format(const std::string& name, const Json& params, const RewardContext& context) {
  constexpr std::string_view kAllowed[] = {"mode", "prefilled", "min_think_chars", "power"};
  check_params(name, params, kAllowed);
  const std::string at = "rewards." + name + ".params.";
  FormatParams chosen;
  if (context.template_kind == TemplateKind::R1) chosen.mode = FormatMode::StrictThink;
  if (const Json* mode = params.find("mode")) {
    std::vector<std::string> names;
    const std::pair<std::string_view, FormatMode>* found = nullptr;
    for (const auto& known : kModes) {
      names.emplace_back(known.first);
      if (known.first == mode->as_string()) found = &known;
    }
    GRPO_CHECK(found != nullptr,
               at + "mode: expected strict, strict_think, soft, tag_count, graded or cosine_template, got " +
                   mode->dump() + nearest_hint(mode->as_string(), names));
    chosen.mode = found->second;
  }
  if (const Json* prefilled = params.find("prefilled")) {
    const bool is_auto = *prefilled == Json("auto");
    GRPO_CHECK(is_auto || prefilled->is_bool(),
               at + "prefilled: expected auto, true or false, got " + prefilled->dump());
    chosen.prefilled = is_auto ? Prefilled::Auto : prefilled->as_bool() ? Prefilled::Yes : Prefilled::No;
  }
  if (const Json* minimum = params.find("min_think_chars")) {
    GRPO_CHECK(minimum->as_int() >= 0, at + "min_think_chars: expected 0 or more, got " + minimum->dump());
    chosen.min_think_chars = static_cast<std::size_t>(minimum->as_int());
  }
  if (const Json* power = params.find("power")) {
    GRPO_CHECK(chosen.mode == FormatMode::CosineTemplate,
               at + "power: has no effect unless mode is cosine_template; leave it out");
    GRPO_CHECK(power->as_double() > 0 && std::isfinite(power->as_double()),
               at + "power: expected a number above 0, got " + power->dump());
    chosen.power = power->as_double();
  }
  return std::make_unique<Format>(name, chosen);
}

}  // namespace grpo::inline GRPO_ABI
