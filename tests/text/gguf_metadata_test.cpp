#include "text/gguf_metadata.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/text/gguf_builder.h"
#include "tests/text/tokenizer_fixture.h"

namespace grpo::test {
namespace {

using B = GgufBuilder;

B sample() {
  B builder;
  builder.add("general.architecture", "llama")
      .add("u8", B::kU8, B::raw<std::uint8_t>(200))
      .add("i8", B::kI8, B::raw<std::int8_t>(-3))
      .add("u16", B::kU16, B::raw<std::uint16_t>(60000))
      .add("i16", B::kI16, B::raw<std::int16_t>(-300))
      .add("u32", B::kU32, B::raw<std::uint32_t>(4'000'000'000u))
      .add("i32", B::kI32, B::raw<std::int32_t>(-70000))
      .add("f32", B::kF32, B::raw<float>(0.5f))
      .add("yes", B::kBool, B::raw<std::uint8_t>(1))
      .add("u64", B::kU64, B::raw<std::uint64_t>(1ull << 40))
      .add("i64", B::kI64, B::raw<std::int64_t>(-(1ll << 40)))
      .add("f64", B::kF64, B::raw<double>(1e-300))
      .add("names", B::kArray, B::strings({"a", "", "\xC3\xA9"}))
      .add("types", B::kArray, B::numbers<std::int32_t>(B::kI32, {1, -2, 3}))
      .add("flags", B::kArray, B::numbers<std::uint8_t>(B::kBool, {1, 0}))
      .add("scores", B::kArray, B::numbers<float>(B::kF32, {1.5f, -2.0f}))
      .add("nested", B::kArray,
           B::raw<std::uint32_t>(B::kArray) + B::raw<std::uint64_t>(2) + B::numbers<std::uint8_t>(B::kU8, {1, 2}) +
               B::strings({"x"}))
      .tensor("a.weight", {64, 2}, 0, 0)
      .tensor("b.weight", {32}, 8, 512);
  return builder;
}

TEST(Gguf, ReadsEveryType) {
  const std::string bytes = sample().bytes(600);
  const GgufFile file = GgufFile::parse(as_span(bytes), "m.gguf");
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.string_at("general.architecture"), "llama");
  EXPECT_EQ(file.int_at("u8"), 200);
  EXPECT_EQ(file.int_at("i8"), -3);
  EXPECT_EQ(file.int_at("u16"), 60000);
  EXPECT_EQ(file.int_at("i16"), -300);
  EXPECT_EQ(file.int_at("u32"), 4'000'000'000);
  EXPECT_EQ(file.int_at("i32"), -70000);
  EXPECT_EQ(file.double_at("f32"), 0.5);
  EXPECT_EQ(file.double_at("u8"), 200.0);
  EXPECT_TRUE(file.bool_at("yes"));
  EXPECT_EQ(file.int_at("u64"), 1ll << 40);
  EXPECT_EQ(file.int_at("i64"), -(1ll << 40));
  EXPECT_EQ(file.double_at("f64"), 1e-300);
  EXPECT_EQ(file.strings_at("names"), (std::vector<std::string>{"a", "", "\u00e9"}));
  EXPECT_EQ(file.ints_at("types"), (std::vector<std::int64_t>{1, -2, 3}));
  EXPECT_EQ(file.ints_at("flags"), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(file.doubles_at("scores"), (std::vector<double>{1.5, -2.0}));
  EXPECT_EQ(std::get<Json>(*file.find("nested")), parse_json(R"([[1, 2], ["x"]])"));
  EXPECT_FALSE(file.has("absent"));
  EXPECT_EQ(file.metadata().size(), 17u);

  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].dims, (std::vector<std::int64_t>{64, 2}));
  ASSERT_NE(file.find_tensor("b.weight"), nullptr);
  EXPECT_EQ(file.find_tensor("b.weight")->type, 8u);
  EXPECT_EQ(file.find_tensor("b.weight")->offset, 512u);
  EXPECT_EQ(file.find_tensor("c.weight"), nullptr);
  EXPECT_EQ(file.data_offset(), bytes.size() - 600);
}

TEST(Gguf, VersionTwoAndOwnAlignment) {
  B builder;
  builder.add("general.alignment", B::kU32, B::raw<std::uint32_t>(64)).tensor("t", {1}, 0, 64);
  const std::string bytes = builder.bytes(128, 64, 2);
  const GgufFile file = GgufFile::parse(as_span(bytes), "m.gguf");
  EXPECT_EQ(file.version(), 2u);
  EXPECT_EQ(file.alignment(), 64u);
  EXPECT_EQ(file.data_offset(), bytes.size() - 128);
}

std::string parse_error(const std::string& bytes) {
  return error_of([&] { GgufFile::parse(as_span(bytes), "m.gguf"); });
}

TEST(Gguf, MessagesNameFileAndKey) {
  const std::string bytes = sample().bytes(600);
  const GgufFile file = GgufFile::parse(as_span(bytes), "m.gguf");
  EXPECT_EQ(error_of([&] { file.int_at("absent"); }), "m.gguf: metadata has no key \"absent\"");
  EXPECT_EQ(error_of([&] { file.int_at("f32"); }), "m.gguf: metadata \"f32\": expected an integer, got 0.5");
  EXPECT_EQ(error_of([&] { file.string_at("u8"); }), "m.gguf: metadata \"u8\": expected a string, got 200");
  EXPECT_EQ(error_of([&] { file.bool_at("names"); }), "m.gguf: metadata \"names\": expected a bool, got another type");
  EXPECT_NE(error_of([&] { file.strings_at("types"); }).find("expected an array of strings"), std::string::npos);
}

TEST(Gguf, HostileFiles) {
  const auto u64 = B::raw<std::uint64_t>;
  const auto u32 = B::raw<std::uint32_t>;
  const std::string huge = u64(~0ull);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += u32(B::kArray) + u64(1);
  const std::pair<std::string, const char*> cases[] = {
      {"", "magic"},
      {"GGML", "expected a GGUF file"},
      {B().bytes(0, 32, 1), "expected version 2 or 3, got 1"},
      {B().bytes(0, 32, 0x03000000), "big-endian"},
      {"GGUF" + u32(3) + u64(0) + huge, "does not fit"},
      {"GGUF" + u32(3) + huge + u64(0), "tensor count"},
      {"GGUF" + u32(3) + u64(0) + u64(1) + huge + std::string(32, 'x'), "truncated"},
      {B().add("k", B::kString, huge).bytes(), "metadata \"k\""},
      {B().add("k", static_cast<B::Type>(13), u64(0)).bytes(), "unknown value type 13"},
      {B().add("k", B::kBool, B::raw<std::uint8_t>(2)).bytes(), "bool of 0 or 1, got 2"},
      {B().add("k", B::kU64, huge).bytes(), "below 2^63"},
      {B().add("k", B::kArray, u32(B::kString) + huge).bytes(), "does not fit"},
      {B().add("k", B::kArray, u32(B::kU8) + huge).bytes(), "does not fit"},
      {B().add("k", B::kArray, u32(99) + u64(1)).bytes(), "unknown value type 99"},
      {B().add("k", B::kArray, deep).bytes(), "nested deeper"},
      {B().add("k", "1").add("k", "2").bytes(), "duplicate key"},
      {B().add(std::string(70000, 'k'), "1").bytes(), "too long"},
      {B().add("general.alignment", B::kU32, u32(0)).bytes(), "power of two"},
      {B().add("general.alignment", B::kU32, u32(24)).bytes(), "power of two"},
      {B().add("general.alignment", "32").bytes(), "expected an integer"},
      {B().tensor("t", {}, 0, 0).bytes(64), "1 to 4 dimensions, got 0"},
      {B().tensor("t", {1, 1, 1, 1, 1}, 0, 0).bytes(64), "1 to 4 dimensions, got 5"},
      {B().tensor("t", {0}, 0, 0).bytes(64), "impossible dimension"},
      {B().tensor("t", {1ull << 40, 1ull << 40}, 0, 0).bytes(64), "impossible dimension"},
      {B().tensor("t", {1}, 0, 8).bytes(64), "multiple of the alignment"},
      {B().tensor("t", {1}, 0, 64).bytes(64), "behind the end of the file"},
      {B().tensor("t", {1}, 0, 0).bytes(), "behind the end of the file"},
      {B().tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).bytes(64), "duplicate tensor"},
  };
  for (const auto& [bytes, expected] : cases) {
    const std::string message = parse_error(bytes);
    EXPECT_NE(message.find(expected), std::string::npos) << expected << ": " << message.substr(0, 300);
    EXPECT_EQ(message.rfind("m.gguf: ", 0), 0u);
  }
}

TEST(Gguf, TruncatedAnywhereIsAnError) {
  const std::string bytes = sample().bytes(600);
  for (std::size_t size = 0; size + 88 < bytes.size(); ++size) {  // the last tensor starts 88 bytes before the end
    EXPECT_NE(parse_error(bytes.substr(0, size)), "") << size;
  }
}

TEST(Gguf, RandomChangesNeverCrash) {
  const std::string bytes = sample().bytes(600);
  std::mt19937 random(11);
  int errors = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string changed = bytes;
    for (int i = 0; i < 1 + round % 4; ++i) changed[random() % changed.size()] = static_cast<char>(random() % 256);
    errors += !parse_error(changed).empty();
  }
  EXPECT_GT(errors, 1000);
}

TEST(Gguf, RealFile) {
  const char* path = std::getenv("GRPO_SMOLLM2_GGUF");
  if (!path) GTEST_SKIP() << "GRPO_SMOLLM2_GGUF is not set";
  const GgufFile file = GgufFile::read(InputFile(path));
  EXPECT_EQ(file.tensors().size(), 272u);
  EXPECT_EQ(file.int_at("llama.block_count"), 30);
  EXPECT_EQ(file.strings_at("tokenizer.ggml.tokens").size(), 49152u);
  ASSERT_NE(file.find_tensor("token_embd.weight"), nullptr);
  EXPECT_EQ(file.find_tensor("token_embd.weight")->dims, (std::vector<std::int64_t>{576, 49152}));
}

}  // namespace
}  // namespace grpo::test
