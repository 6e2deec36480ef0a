// A plug-in whose rewards do what the completion says: throw, crash, sleep, tell what they see.
#include <grpo/plugin.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

namespace {

namespace plugin = grpo::plugin;
using plugin::Parameter;

class Moody final : public plugin::Reward {
 public:
  static plugin::Declaration declaration() {
    return {.type = "moody",
            .doc = "does what the completion says",
            .parameters = {Parameter::number("bonus", 0.5, "the score").between(0, 1),
                           Parameter::text("pid_file", "", "where to write the process id; empty: nowhere")}};
  }
  explicit Moody(const plugin::Params& params) : bonus_(params.number("bonus")) {
    if (const std::string file = params.text("pid_file"); !file.empty()) std::ofstream(file) << getpid() << std::flush;
  }

  plugin::Verdict judge(const plugin::RewardInput& in) const override {
    const std::string_view mood = in.completion();
    if (mood == "throw") throw std::runtime_error("in a bad mood");
    if (mood == "throw oddly") throw 42;
    if (mood == "crash") std::raise(SIGSEGV);
    if (mood == "exit") _exit(7);
    if (mood == "nan") return {std::numeric_limits<double>::quiet_NaN()};
    if (mood == "inf") return {std::numeric_limits<double>::infinity()};
    if (mood == "high") return {2};
    if (mood == "babble") return {bonus_, std::string(100, 'v'), "\xFF" + std::string(1000, 'w')};
    if (mood == "pid") return {bonus_, "", std::to_string(getpid())};
    if (mood == "sleep") {  // an hour, or until nobody waits
      for (int i = 0; i < 3600 * 1000 && !in.cancelled(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (mood == "eat") return {bonus_, "", std::string(std::size_t{16} << 30, 'x').substr(0, 1)};
    return {bonus_, "calm"};
  }

 private:
  double bonus_;
};

// Says in `why` all that an answer brings.
class Witness final : public plugin::Reward {
 public:
  static plugin::Declaration declaration() { return {.type = "witness"}; }
  explicit Witness(const plugin::Params&) {}
  plugin::Verdict judge(const plugin::RewardInput& in) const override {
    std::string seen;
    for (const plugin::Message& message : in.messages())
      seen += std::string(message.role) + ":" + std::string(message.content) + "|";
    for (const std::string_view text :
         {in.prompt(), in.think(), in.final_segment(), in.final_answer(), in.reference()}) {
      seen += std::string(text) + "|";
    }
    for (const std::int32_t id : in.token_ids()) seen += std::to_string(id) + ",";
    seen += in.has_final_segment() ? "F" : "-";
    seen += in.has_final_answer() ? "A" : "-";
    seen += in.has_reference() ? "R" : "-";
    seen += in.is_evaluation() ? "E" : "-";
    seen += in.finish_reason() == plugin::FinishReason::Length ? "L" : "-";
    return {static_cast<double>(in.step()), "seen", seen};
  }
  plugin::Range range() const override { return {-10, 10}; }
};

class Reader final : public plugin::Reward {
 public:
  static plugin::Declaration declaration() {
    return {.type = "reader",
            .parameters = {Parameter::integer("times", 1, "factor").at_least(1), Parameter::flag("negative", false, ""),
                           Parameter::text("column", "", "a column").required()}};
  }
  explicit Reader(const plugin::Params& params)
      : factor_(static_cast<double>(params.integer("times")) * (params.flag("negative") ? -1 : 1)),
        column_(params.text("column")) {
    if (column_ == "forbidden") throw std::runtime_error("this column is forbidden");
  }
  plugin::Verdict judge(const plugin::RewardInput& in) const override {
    const std::string all = in.column<std::string>("text") + in.column<plugin::Json>("list").text +
                            std::to_string(in.column<std::int64_t>("whole")) + (in.column<bool>("yes") ? "yes" : "no");
    return {factor_ * in.column<double>(column_), "read", all};
  }
  plugin::Range range() const override { return {-100, 100}; }
  bool applies(const plugin::RewardInput& in) const override { return in.completion() != "skip"; }
  void check_row(const plugin::RewardInput& row) const override {
    if (row.column<double>(column_) < 0 || !row.has_reference()) throw std::runtime_error("a bad row");
  }

 private:
  double factor_;
  std::string column_;
};

// The share of the longest answer; says too little about a group that begins with "short".
class Share final : public plugin::Reward {
 public:
  static plugin::Declaration declaration() { return {.type = "share"}; }
  explicit Share(const plugin::Params&) {}
  std::vector<plugin::Verdict> score_group(std::span<const plugin::RewardInput> group) const override {
    std::size_t longest = 1;
    for (const plugin::RewardInput& in : group) longest = std::max(longest, in.completion().size());
    std::vector<plugin::Verdict> verdicts;
    for (const plugin::RewardInput& in : group) {
      verdicts.push_back({static_cast<double>(in.completion().size()) / static_cast<double>(longest)});
    }
    if (group.front().completion() == "short") verdicts.pop_back();
    return verdicts;
  }
};

}  // namespace

GRPO_REWARD_PLUGIN(Moody, Witness, Reader, Share)
