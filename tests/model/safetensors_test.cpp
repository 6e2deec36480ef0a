// safetensors: round trips, every rule of the header, hostile files.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <grpo/model.h>

#include "base/error_text.h"
#include "base/files.h"
#include "model/safetensors.h"
#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::string file_bytes(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

class Safetensors : public ::testing::Test {
 protected:
  // What loading a file of this header and `data_bytes` zero bytes says.
  std::string says(const std::string& header, std::size_t data_bytes) {
    testing::write_bytes(path_, file_bytes(header, std::string(data_bytes, '\0')));
    return error_text([&] { load_safetensors(path_); });
  }

  ScratchFolder folder_;
  std::string path_ = folder_ / "x.safetensors";
};

TEST_F(Safetensors, RoundTripsEveryType) {
  std::vector<NamedTensor> tensors;
  for (const at::ScalarType type :
       {at::kByte, at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar}) {
    tensors.push_back({std::string("t.") + c10::toString(type), at::arange(6, at::kFloat).view({2, 3}).to(type)});
  }
  tensors.push_back({"bool", at::arange(4, at::kInt).remainder(2).to(at::kBool)});
  tensors.push_back({"scalar", at::arange(1, at::kFloat).view(at::IntArrayRef{})});
  tensors.push_back({"empty", at::empty({0, 5}, at::kFloat)});
  tensors.push_back({"strided", at::arange(6, at::kFloat).view({2, 3}).t()});
  tensors.push_back({"name with \"quotes\" and \xC3\xA9", at::arange(2, at::kFloat)});
  Json metadata;
  metadata["step"] = "12";
  save_safetensors(path_, tensors, metadata);

  Json read_metadata;
  const std::vector<NamedTensor> read = load_safetensors(path_, &read_metadata);
  ASSERT_EQ(read.size(), tensors.size());
  for (const NamedTensor& want : tensors) {
    const auto got = std::find_if(read.begin(), read.end(), [&](const NamedTensor& t) { return t.name == want.name; });
    ASSERT_NE(got, read.end()) << want.name;
    EXPECT_EQ(got->tensor.scalar_type(), want.tensor.scalar_type()) << want.name;
    EXPECT_TRUE(got->tensor.equal(want.tensor)) << want.name;
  }
  EXPECT_EQ(read_metadata.at("step").as_string(), "12");
  EXPECT_EQ(read_metadata.at("format").as_string(), "pt");
  std::uint64_t length = 0;
  std::memcpy(&length, read_file(path_).data(), 8);
  EXPECT_EQ(length % 8, 0u);
}

TEST_F(Safetensors, TensorsOutliveTheFile) {
  save_safetensors(path_, {{"a", at::arange(3, at::kFloat)}});
  const at::Tensor a = load_safetensors(path_)[0].tensor;
  std::filesystem::remove(path_);
  EXPECT_TRUE(a.equal(at::arange(3, at::kFloat)));
}

TEST_F(Safetensors, ReadsUnalignedTensors) {
  testing::write_bytes(path_, file_bytes(R"({"b": {"dtype":"U8","shape":[1],"data_offsets":[0,1]},
      "f": {"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                         std::string("\x07\x00\x00\x80\x3F", 5)));
  const std::vector<NamedTensor> read = load_safetensors(path_);
  EXPECT_EQ(read[1].tensor.item<float>(), 1.0f);
}

TEST_F(Safetensors, ChecksEveryRule) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"a": {"dtype":"F32","shape":[2],"data_offsets":[0,12]}})", "F32 [2] does not fill its 12 bytes"},
      {R"({"a": {"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "expected data_offsets [begin, end]"},
      {R"({"a": {"dtype":"F32","shape":[2],"data_offsets":[0]}})", "expected data_offsets [begin, end]"},
      {R"({"a": {"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", "expected non-negative integers in data_offsets"},
      {R"({"a": {"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", "expected non-negative integers in shape"},
      {R"({"a": {"dtype":"F4","shape":[2],"data_offsets":[0,8]}})", "got \"F4\""},
      {R"({"a": {"dtype":"Q8_0","shape":[2],"data_offsets":[0,8]}})", "got \"Q8_0\""},
      {R"({"a": {"dtype":7,"shape":[2],"data_offsets":[0,8]}})", "got 7"},
      {R"({"a": {"dtype":"F32","shape":[2]}})", "expected {dtype, shape, data_offsets}"},
      {R"({"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", "expected {dtype, shape, data_offsets}"},
      {R"({"a": 3})", "expected {dtype, shape, data_offsets}, got 3"},
      {R"({"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       "tensor \"b\" begins at byte 0 of the data, expected 4"},
      {R"({"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b": {"dtype":"U8","shape":[1],"data_offsets":[7,8]}})",
       "tensor \"b\" begins at byte 7 of the data, expected 4"},
      {R"({"a": {"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "begins at byte 4 of the data, expected 0"},
      {R"({"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "describes 4 bytes of data, the file holds 8"},
      {R"({"a": {"dtype":"F32","shape":[3],"data_offsets":[0,12]}})", "describes 12 bytes of data, the file holds 8"},
      {R"({"a": {"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[0,8]}})", "is too large"},
      {R"({"a": {"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]}})", "does not fill"},
      {R"({"a": {"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", "is too large"},
      {R"({"a": {"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", "at most 16"},
      {R"({"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "a"},
      {R"({"__metadata__": {"x": 1}})", "__metadata__.x: expected a string"},
      {R"({"__metadata__": []})", "expected an object as __metadata__"},
      {R"( {})", "expected the header to begin with '{'"},
      {R"([])", "expected the header to begin with '{'"},
      {R"({"a": [[[[[[[[[[[[]]]]]]]]]]]]})", ""},
  };
  for (const auto& [header, message] : cases)
    EXPECT_NE(says(header, 8).find(message), std::string::npos) << says(header, 8);
}

TEST_F(Safetensors, RefusesHugeHeaders) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    std::string bytes = file_bytes("{}", "");
    std::memcpy(bytes.data(), &length, 8);
    testing::write_bytes(path_, bytes);
    EXPECT_NE(error_text([&] { load_safetensors(path_); }).find("does not fit"), std::string::npos) << length;
  }
}

TEST_F(Safetensors, TruncationAnywhereIsAnError) {
  save_safetensors(path_, {{"a", at::arange(3, at::kFloat)}, {"b", at::arange(4, at::kByte)}});
  const std::string bytes = read_file(path_);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    testing::write_bytes(path_, bytes.substr(0, length));
    EXPECT_NE(error_text([&] { load_safetensors(path_); }), "") << length;
  }
  testing::write_bytes(path_, bytes + '\0');
  EXPECT_NE(error_text([&] { load_safetensors(path_); }).find("the file holds 17"), std::string::npos);
}

// A changed byte gives a file that reads or an Error, nothing else.
TEST_F(Safetensors, SurvivesChangedBytes) {
  save_safetensors(path_, {{"a", at::arange(3, at::kFloat)}, {"b", at::arange(4, at::kByte)}});
  const std::string bytes = read_file(path_);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string changed = bytes;
    for (int n = 0; n < 1 + i % 3; ++n) changed[random() % (bytes.size() - 16)] = static_cast<char>(random());
    testing::write_bytes(path_, changed);
    try {
      for (const NamedTensor& t : load_safetensors(path_)) EXPECT_LE(t.tensor.nbytes(), 16u);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST_F(Safetensors, RefusesBoolsThatAreNone) {
  testing::write_bytes(
      path_, file_bytes(R"({"a": {"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", std::string("\x01\x02", 2)));
  EXPECT_NE(error_text([&] { load_safetensors(path_); }).find("expected 0 or 1"), std::string::npos);
}

TEST_F(Safetensors, WriterRefusesWhatTheFormatCannotHold) {
  const at::Tensor a = at::arange(2, at::kFloat);
  EXPECT_NE(error_text([&] { save_safetensors(path_, {{"a", a}, {"a", a}}); }).find("taken twice"), std::string::npos);
  EXPECT_NE(error_text([&] { save_safetensors(path_, {{"__metadata__", a}}); }).find("reserved"), std::string::npos);
  EXPECT_NE(error_text([&] { save_safetensors(path_, {{"a", at::Tensor()}}); }).find("undefined"), std::string::npos);
  EXPECT_NE(error_text([&] {
              save_safetensors(path_, {{"a", a.to(at::kComplexFloat)}});
            }).find("not supported"),
            std::string::npos);
  Json metadata;
  metadata["step"] = 3;
  EXPECT_NE(error_text([&] {
              save_safetensors(path_, {{"a", a}}, metadata);
            }).find("expected a string"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(Safetensors, ShardedFolders) {
  const at::Tensor a = at::arange(2, at::kFloat);
  const auto says_index = [&](const std::string& map) {
    testing::write_bytes(folder_ / "model.safetensors.index.json", R"({"metadata": {}, "weight_map": )" + map + "}");
    return error_text([&] { open_weights_folder(folder_ / ""); });
  };
  EXPECT_NE(error_text([&] { open_weights_folder(folder_ / ""); }).find("found neither"), std::string::npos);
  save_safetensors(folder_ / "one.safetensors", {{"a", a}});
  save_safetensors(folder_ / "two.safetensors", {{"b", a}, {"a", a}});
  EXPECT_NE(says_index(R"({"a": "one.safetensors", "c": "one.safetensors"})").find("tensor \"c\" is missing"),
            std::string::npos);
  EXPECT_NE(says_index(R"({"a": "one.safetensors", "b": "two.safetensors"})").find("in another shard too"),
            std::string::npos);
  EXPECT_NE(says_index(R"({"a": "../one.safetensors"})").find("expected a file name in this folder"),
            std::string::npos);
  EXPECT_NE(says_index(R"({"a": "/etc/passwd"})").find("expected a file name in this folder"), std::string::npos);
  EXPECT_NE(says_index(R"({"a": 1})").find("expected a file name in this folder"), std::string::npos);
  EXPECT_NE(says_index(R"({})").find("expected an object of tensor names"), std::string::npos);
  EXPECT_NE(says_index(R"({"a": "three.safetensors"})").find("three.safetensors"), std::string::npos);
  save_safetensors(folder_ / "two.safetensors", {{"b", a}});
  testing::write_bytes(folder_ / "model.safetensors.index.json",
                       R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  EXPECT_EQ(open_weights_folder(folder_ / "").size(), 2u);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
