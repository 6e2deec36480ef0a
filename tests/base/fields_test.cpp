// Every member of every configuration aggregate has a row, and every row its own member.
#include <gtest/gtest.h>

#include <map>

#include <grpo/config.h>

#include "base/config_fields.h"
#include "base/error_text.h"

namespace grpo::inline GRPO_ABI {

struct AnyValue {
  template <class T>
  operator T() const;  // never defined: only asked whether it would do
};

namespace {

using namespace fields;

template <class T, class... Values>
constexpr std::size_t num_members() {
  if constexpr (requires { T{Values{}..., AnyValue{}}; }) {
    return num_members<T, Values..., AnyValue>();
  } else {
    return sizeof...(Values);
  }
}

template <class S>
std::size_t num_keys(const Fields<S>& fields) {
  return fields.size();
}

TEST(Fields, EveryMemberHasARow) {
  static_assert(num_members<ModelSection>() == 3);  // the counter itself: three members are seen in the header
  EXPECT_EQ(num_keys(model_fields()), num_members<ModelSection>());
  EXPECT_EQ(num_keys(data_fields()), num_members<DataSection>());
  EXPECT_EQ(num_keys(reward_fields()) + 1, num_members<RewardEntry>());  // schedule holds two
  EXPECT_EQ(num_keys(advantage_fields()), num_members<AdvantageConfig>());
  EXPECT_EQ(num_keys(loss_fields()), num_members<LossConfig>());
  EXPECT_EQ(num_keys(grpo_fields()),
            num_members<GrpoSection>() - 2 + num_members<AdvantageConfig>() + num_members<LossConfig>());
  EXPECT_EQ(num_keys(sft_fields()), num_members<SftSection>());
  EXPECT_EQ(num_keys(optimizer_fields()), num_members<OptimizerSection>());
  EXPECT_EQ(num_keys(eval_fields()), num_members<EvalSection>());
  EXPECT_EQ(num_keys(run_fields()), num_members<RunConfig>() - 1);  // `source` is not a key
}

// A value that differs from `old` and lies in the row's range and choices.
Json another(const FieldInfo& info, const Json& old) {
  if (info.type == "true or false") return !old.as_bool();
  if (info.type == "text" || info.type == "path") return "/other";
  if (info.type == "list of texts") return Json(Json::List{"x"});
  if (info.type.rfind("keys", 0) == 0) return Json(Json::Object{{"k", 1}});
  if (info.type == "integer >= 0 and <= 1") return 1 - old.as_int();
  if (info.type.rfind("integer", 0) == 0) return old.as_int() + 1;
  if (info.type.rfind("number", 0) == 0) {
    const double value = old.is_null() ? 1.5 : old.as_double();
    return old.is_null() ? value : value == 0 ? 0.5 : value / 2;
  }
  const std::size_t last = info.type.rfind(' ');  // a choice: "a, b or c"
  const std::string choice = info.type.substr(last + 1);
  return old == Json(choice) ? Json(info.type.substr(0, info.type.find_first_of(", "))) : Json(choice);
}

template <class S>
void expect_own_members(const Fields<S>& fields, const char* section) {
  const S defaults{};
  const Json before = write_fields(fields, defaults);
  for (const auto& field : fields) {
    if (!field.info.children.empty()) continue;
    SCOPED_TRACE(std::string(section) + "." + field.info.name);
    const Json value = another(field.info, before.at(field.info.name));
    S changed{};
    read_fields(fields, changed, Json(Json::Object{{field.info.name, value}}), {});
    const Json after = write_fields(fields, changed);
    EXPECT_EQ(after.at(field.info.name), value);
    for (const auto& [key, old] : before.as_object()) {
      if (key == field.info.name) continue;
      EXPECT_EQ(after.at(key), old) << key << " changed too";
    }
    EXPECT_FALSE(field.info.doc.empty());
  }
}

TEST(Fields, EveryRowHasItsOwnMember) {
  expect_own_members(model_fields(), "model");
  expect_own_members(data_fields(), "data");
  expect_own_members(reward_fields(), "rewards");
  expect_own_members(grpo_fields(), "grpo");
  expect_own_members(sft_fields(), "sft");
  expect_own_members(optimizer_fields(), "optimizer");
  expect_own_members(eval_fields(), "eval");
  expect_own_members(run_fields(), "");
}

TEST(Fields, NoKeyTwice) {
  std::map<std::string, int> seen;
  for (const auto& field : grpo_fields()) EXPECT_EQ(++seen["grpo." + field.info.name], 1) << field.info.name;
  for (const auto& field : run_fields()) EXPECT_EQ(++seen[field.info.name], 1) << field.info.name;
}

TEST(Fields, RangesInWords) {
  EXPECT_EQ(at_least(0).text(), ">= 0");
  EXPECT_EQ(above(1).text(), "> 1");
  EXPECT_EQ(between(0, 1).text(), ">= 0 and <= 1");
  EXPECT_EQ((Range{.low = 0, .high = 0.5, .open_high = true}).text(), ">= 0 and < 0.5");
  EXPECT_EQ(anything().text(), "");
  EXPECT_FALSE(above(1).contains(1));
  EXPECT_TRUE(at_least(1).contains(1));
}

TEST(Fields, EveryEnumNameReadsBack) {
  auto check = [](auto value) {
    using E = decltype(value);
    for (const auto& entry : enum_names<E>()) {
      EXPECT_EQ(enum_from_name<E>(entry.name), entry.value);
      EXPECT_EQ(enum_from_name<E>(enum_name(entry.value)), entry.value);
    }
    EXPECT_FALSE(enum_from_name<E>("").has_value());
  };
  check(DType{}), check(RunKind{}), check(TemplateKind{}), check(ScaleRewards{}), check(Aggregation{});
  check(Baseline{}), check(MissingReward{}), check(LossType{}), check(RatioLevel{}), check(KlEstimator{});
  check(SamplerCorrection{}), check(MinibatchSplit{}), check(Schedule{}), check(CheckOnPolicy{});
  EXPECT_EQ(enum_choices<ScaleRewards>(), "group, batch or none");
  EXPECT_EQ(enum_choices<RunKind>(), "grpo or sft");
  EXPECT_THROW(enum_name(static_cast<LossType>(99)), Error);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
