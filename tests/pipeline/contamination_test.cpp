#include <grpo/pipeline.h>
#include <gtest/gtest.h>

#include "support/tensors.h"

namespace grpo::testing {
namespace {

Json question(const std::string& text) { return Json::Object{{"question", text}, {"answer", "7"}}; }

Dataset rows(std::vector<Json> list, const std::string& source) { return Dataset::from_rows(std::move(list), source); }

DataSection mapping() {
  DataSection data;
  data.prompt = "question";
  return data;
}

// "w0 w1 ... " from `first` on.
std::string numbered(const std::string& word, int first, int count) {
  std::string text;
  for (int i = first; i < first + count; ++i) text += word + std::to_string(i) + " ";
  return text;
}

// Row numbers in words.
std::string found(const std::vector<ContaminatedRow>& list) {
  std::string numbers;
  for (const ContaminatedRow& row : list) numbers += std::to_string(row.row) + " ";
  return numbers;
}

TEST(Contamination, IsThirteenWordsInARow) {
  // Problem i has 20 words of its own; training rows repeat 13 of problem 1 in other dress, and 12 of problem 2.
  const Dataset held_out = rows({question(numbered("a", 0, 20)), question(numbered("b", 0, 20)),
                                 question(numbered("c", 0, 20)), question(numbered("d", 0, 20))},
                                "held-out");
  const Dataset training =
      rows({question("nothing"), question("So: " + numbered("B", 7, 6) + "--\n" + numbered("B", 13, 7)),
            question(numbered("c", 8, 12) + "end"), question(numbered("b", 0, 20))},
           "train");
  const std::vector<ContaminatedRow> list = contaminated_rows(held_out, training, mapping());
  ASSERT_EQ(found(list), "1 ");
  EXPECT_EQ(list[0].found_in, "train, row 3");  // for the problem's first n-gram
  EXPECT_EQ(list[0].shared, "b0 b1 b2 b3 b4 b5 b6 b7 b8 b9 b10 b11 b12");
  const Dataset one = rows({question("So: " + numbered("B", 7, 6) + "--\n" + numbered("B", 13, 7))}, "train");
  ASSERT_EQ(found(contaminated_rows(held_out, one, mapping())), "1 ");
  EXPECT_EQ(contaminated_rows(held_out, one, mapping())[0].shared, "b7 b8 b9 b10 b11 b12 b13 b14 b15 b16 b17 b18 b19");
  EXPECT_EQ(found(contaminated_rows(held_out, one, mapping(), 14)), "");
  EXPECT_EQ(found(contaminated_rows(held_out, training, mapping(), 12)), "1 2 ");
  EXPECT_EQ(found(contaminated_rows(held_out, training, mapping(), 20)), "1 ");
  EXPECT_EQ(found(contaminated_rows(held_out, training, mapping(), 21)), "1 ");  // whole
  // Words in another order, or with a word between them, are no n-gram.
  const Dataset shuffled = rows({question(numbered("d", 10, 10) + numbered("d", 0, 10)),
                                 question(numbered("a", 0, 12) + "so " + numbered("a", 12, 8))},
                                "train");
  EXPECT_EQ(found(contaminated_rows(held_out, shuffled, mapping())), "");
}

TEST(Contamination, OfAShortProblemIsTheWholeText) {
  const Dataset held_out = rows(
      {question("3+4="), question("What is 5 - 2?"), question("6+1="), question("?!"), question("8+1=")}, "held-out");
  const Dataset training =
      rows({question("4+3="), question("3-4="), question("13+4="), question("3 + 4 = 7"), question("what is 5\u22122"),
            question("!?"), Json::Object{{"question", "x"}, {"completion", " 6+1 ="}},
            Json::Object{{"question", "x"}, {"answer", "8 + 1 ="}, {"other", "8+1="}}},
           "train");
  EXPECT_EQ(found(contaminated_rows(held_out, training, mapping())), "1 2 4 ");
  EXPECT_EQ(found(contaminated_rows(held_out, training, mapping(), 4)), "0 1 2 4 ");  // "3 + 4 =" is four words
}

TEST(Contamination, ReadsTheColumnsOfTheRun) {
  const auto chat = [](const std::string& system, const std::string& user, const std::string& assistant) {
    Json::List list = {Json::Object{{"role", "system"}, {"content", system}},
                       Json::Object{{"role", "user"}, {"content", user}}};
    if (!assistant.empty()) list.push_back(Json::Object{{"role", "assistant"}, {"content", assistant}});
    return Json(Json::Object{{"messages", list}});
  };
  const std::string a = numbered("a", 0, 13), b = numbered("b", 0, 13), c = numbered("c", 0, 13),
                    d = numbered("d", 0, 13), s = numbered("s", 0, 13), t = numbered("t", 0, 13);
  const Dataset held_out = rows({chat(t, a, ""), chat(t, b, ""), chat(t, c, ""), question(d), question(s)}, "held-out");
  // a in a question, b in an answer, d in a completion; system prompts and other columns do not count on either side.
  const Dataset training =
      rows({chat(s, a, "x"), chat(s, "x", b), Json::Object{{"question", "x"}, {"completion", "y " + d}},
            Json::Object{{"question", t}, {"comment", c}}},
           "train");
  EXPECT_EQ(found(contaminated_rows(held_out, training, mapping())), "0 1 3 ");
  // Texts of a row are not joined.
  const Dataset halves =
      rows({Json::Object{{"question", numbered("a", 0, 7)}, {"completion", numbered("a", 7, 6)}}}, "train");
  EXPECT_EQ(found(contaminated_rows(held_out, halves, mapping())), "");
}

TEST(Contamination, FindsAllThatIsPlantedAndNothingElse) {
  // 300 problems of 40 words; 13 words or more of every third one are hidden in a longer training text.
  std::uint32_t state = 1;
  const auto some_words = [&](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "w" + std::to_string((state = state * 1664525u + 1013904223u) >> 8) + " ";
    return text;
  };
  std::vector<Json> problems, lessons;
  std::string planted;
  for (int i = 0; i < 300; ++i) {
    const std::string text = some_words(40);
    problems.push_back(question(text));
    std::string lesson = some_words(30);
    if (i % 3 == 0) {
      lesson += text.substr(text.find(' ', 60) + 1, 140) + some_words(20);
      planted += std::to_string(i) + " ";
    }
    lessons.push_back(question(lesson));
  }
  EXPECT_EQ(found(contaminated_rows(rows(problems, "held-out"), rows(lessons, "train"), mapping())), planted);
}

TEST(Contamination, NamesTheRowThatItCannotRead) {
  const Dataset good = rows({question("3+4=")}, "held-out");
  const Dataset bad = rows({question("1"), Json::Object{{"problem", "2"}}}, "train.jsonl");
  EXPECT_EQ(error_of([&] { contaminated_rows(good, bad, mapping()); }),
            "train.jsonl, row 1: expected a problem in field 'question' or 'messages', got neither");
  const Dataset flat = rows({Json::Object{{"messages", "hi"}}}, "train.jsonl");
  EXPECT_EQ(error_of([&] { contaminated_rows(flat, good, mapping()); }),
            "train.jsonl, row 0: field 'messages': expected a list of messages, got \"hi\"");
  EXPECT_EQ(error_of([&] { contaminated_rows(good, good, mapping(), 0); }),
            "contaminated_rows: expected n >= 1, got 0");
}

}  // namespace
}  // namespace grpo::testing
