#include <fmt/format.h>

#include <unordered_map>

#include <grpo/pipeline.h>

#include "pipeline/words.h"

namespace grpo::inline GRPO_ABI {
namespace {

// A text as word numbers, so that an n-gram is a piece of a string.
using Numbers = std::u32string;
using NGram = std::u32string_view;

constexpr char32_t kUnknown = 0;  // a word that no problem has
constexpr std::size_t kNowhere = ~std::size_t{0};

struct Vocabulary {
  std::unordered_map<std::string, char32_t> numbers;
  std::vector<const std::string*> words;  // of number i + 1

  char32_t add(const std::string& word) {
    const auto [it, is_new] = numbers.try_emplace(word, static_cast<char32_t>(words.size() + 1));
    if (is_new) words.push_back(&it->first);
    return it->second;
  }
  Numbers known(const std::vector<std::string>& text) const {
    Numbers result;
    for (const std::string& word : text) {
      const auto it = numbers.find(word);
      result += it == numbers.end() ? kUnknown : it->second;
    }
    return result;
  }
  std::string text(NGram gram) const {
    std::string joined;
    for (const char32_t number : gram) joined += (joined.empty() ? "" : " ") + *words[number - 1];
    return joined;
  }
};

// Every n words in a row of a text, or the whole of a shorter one.
template <class Visit>
void for_each_gram(NGram text, std::size_t n, Visit visit) {
  if (text.empty()) return;
  for (std::size_t i = 0; i == 0 || i + n <= text.size(); ++i) visit(text.substr(i, n));
}

std::string place_of(const Dataset& dataset, std::size_t index) {
  const int line = dataset.row(index).line();
  return line > 0 ? fmt::format("{}:{}", dataset.source(), line) : fmt::format("{}, row {}", dataset.source(), index);
}

std::string text_of(const Json& value) { return value.is_string() ? value.as_string() : value.dump(); }

const Json* column(const Json& row, const std::string& name) {
  const Json* value = row.find(name);
  return value && !value->is_null() ? value : nullptr;
}

// The prompt column, or the contents of the messages whose role is wanted.
template <class Wanted>
std::vector<std::string> prompt_texts(const Dataset& dataset, std::size_t index, const DataSection& data,
                                      Wanted wanted) {
  const Json& row = dataset.row(index);
  std::vector<std::string> texts;
  if (const Json* messages = column(row, data.messages)) {
    GRPO_CHECK(messages->is_list(),
               fmt::format("{}: field '{}': expected a list of messages, got {}", place_of(dataset, index),
                           data.messages, messages->dump().substr(0, 60)));
    for (const Json& message : messages->as_list()) {
      const Json* role = message.find("role");
      const Json* content = message.find("content");
      if (role && content && wanted(*role)) texts.push_back(text_of(*content));
    }
  } else {
    const Json* prompt = column(row, data.prompt);
    GRPO_CHECK(prompt, fmt::format("{}: expected a problem in field '{}' or '{}', got neither",
                                   place_of(dataset, index), data.prompt, data.messages));
    texts.push_back(text_of(*prompt));
  }
  return texts;
}

std::string problem(const Dataset& dataset, std::size_t index, const DataSection& data) {
  std::string text;
  for (const std::string& part : prompt_texts(dataset, index, data, [](const Json& role) { return role == "user"; }))
    text += part + "\n";
  return text;
}

std::vector<std::string> training_texts(const Dataset& dataset, std::size_t index, const DataSection& data) {
  std::vector<std::string> texts =
      prompt_texts(dataset, index, data, [](const Json& role) { return !(role == "system"); });
  for (const std::string& name : {std::string("completion"), data.answer})
    if (const Json* value = column(dataset.row(index), name)) texts.push_back(text_of(*value));
  return texts;
}

}  // namespace

std::vector<ContaminatedRow> contaminated_rows(const Dataset& held_out, const Dataset& training,
                                               const DataSection& data, int n) {
  GRPO_CHECK(n >= 1, fmt::format("contaminated_rows: expected n >= 1, got {}", n));
  const auto length = static_cast<std::size_t>(n);
  Vocabulary vocabulary;
  std::vector<Numbers> problems;
  for (std::size_t i = 0; i < held_out.size(); ++i) {
    Numbers& numbers = problems.emplace_back();
    for (const std::string& word : words_of(problem(held_out, i, data))) numbers += vocabulary.add(word);
  }
  std::unordered_map<NGram, std::size_t> found_in;  // the first training row that has it
  for (const Numbers& numbers : problems)
    for_each_gram(numbers, length, [&](NGram gram) { found_in.emplace(gram, kNowhere); });

  for (std::size_t i = 0; i < training.size(); ++i)
    for (const std::string& text : training_texts(training, i, data)) {
      const Numbers numbers = vocabulary.known(words_of(text));
      for_each_gram(numbers, length, [&](NGram gram) {
        const auto it = found_in.find(gram);
        if (it != found_in.end() && it->second == kNowhere) it->second = i;
      });
    }

  std::vector<ContaminatedRow> rows;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    bool is_clean = true;
    for_each_gram(problems[i], length, [&](NGram gram) {
      const std::size_t row = found_in.at(gram);
      if (!is_clean || row == kNowhere) return;
      is_clean = false;
      rows.push_back({i, place_of(training, row), vocabulary.text(gram)});
    });
  }
  return rows;
}

}  // namespace grpo::inline GRPO_ABI
