// Every family: initial weights, save and load, copies, mixing, files that do not fit.
#include <gtest/gtest.h>

#include <filesystem>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <grpo/model.h>

#include "base/error_text.h"
#include "base/files.h"
#include "model/families.h"
#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::separate_sequences;
using testing::some_tokens;

at::Tensor values(const CausalLM& model, const std::string& name) { return get_values(model.parameter(name)); }

bool same_weights(const CausalLM& a, const CausalLM& b) {
  if (a.parameters().size() != b.parameters().size()) return false;
  for (const Parameter* parameter : a.parameters()) {
    if (!get_values(*parameter).equal(values(b, parameter->name))) return false;
  }
  return true;
}

at::Tensor hidden(const CausalLM& model) {
  const at::NoGradGuard no_grad;
  return model.forward(separate_sequences({some_tokens(50, 1, 70), some_tokens(9, 2, 70)}));
}

class EveryFamily : public ::testing::TestWithParam<const char*> {
 protected:
  ModelConfig config() const { return testing::tiny_config(GetParam()); }
  // A saved model whose tensors were changed.
  std::string says_with(const std::function<void(std::vector<NamedTensor>&)>& change) {
    CausalLM::init(config(), 1, {}).save(folder_ / "broken", nullptr, DType::Float32);
    std::vector<NamedTensor> tensors = load_safetensors(folder_ / "broken/model.safetensors");
    change(tensors);
    save_safetensors(folder_ / "broken/model.safetensors", tensors);
    return error_text([&] { CausalLM::load(folder_ / "broken", {}); });
  }

  ScratchFolder folder_;
};

TEST_P(EveryFamily, SavedModelLoadsWithTheSameBits) {
  const CausalLM model = CausalLM::init(config(), 1, {});
  testing::vary_vectors(model);
  EXPECT_TRUE(hidden(model).isfinite().all().item<bool>());
  for (const bool twice : {false, true}) {  // into a new folder, over an earlier export
    model.save(folder_ / "out", nullptr, DType::Float32);
    const CausalLM read = CausalLM::load(folder_ / "out", {});
    EXPECT_TRUE(same_weights(read, model)) << twice;
    EXPECT_TRUE(hidden(read).equal(hidden(model)));
    EXPECT_EQ(to_config_json(read.config()), to_config_json(model.config()));
  }
  model.save(folder_ / "bf16", nullptr, DType::BFloat16);
  const CausalLM rounded = CausalLM::load(folder_ / "bf16", {});
  for (const Parameter* parameter : model.parameters()) {
    const at::Tensor want = get_values(*parameter).to(at::kBFloat16).to(at::kFloat);
    EXPECT_TRUE(values(rounded, parameter->name).equal(want)) << parameter->name;
  }
}

TEST_P(EveryFamily, TiedHeadIsTheEmbedding) {
  ModelConfig c = config();
  c.tie_embeddings = true;
  const CausalLM model = CausalLM::init(c, 1, {});
  EXPECT_EQ(&model.head(), &model.parameter("model.embed_tokens.weight"));
  std::int64_t elements = 0;
  for (const Parameter* parameter : model.parameters()) elements += get_values(*parameter).numel();
  EXPECT_EQ(elements, num_parameters(c));
  model.save(folder_ / "out", nullptr, DType::Float32);

  // A copy of the head in the file is fine, another head is not.
  std::vector<NamedTensor> tensors = load_safetensors(folder_ / "out/model.safetensors");
  tensors.push_back({"lm_head.weight", tensors[0].tensor.clone()});
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::arange(8, at::kFloat)});
  save_safetensors(folder_ / "out/model.safetensors", tensors);
  EXPECT_TRUE(same_weights(CausalLM::load(folder_ / "out", {}), model));
  tensors[tensors.size() - 2].tensor[3][3] = 7;
  save_safetensors(folder_ / "out/model.safetensors", tensors);
  EXPECT_NE(error_text([&] { CausalLM::load(folder_ / "out", {}); }).find("extra: lm_head.weight [70, 32]"),
            std::string::npos);
}

TEST_P(EveryFamily, InitialWeightsAreAddressed) {
  const CausalLM model = CausalLM::init(config(), 1, {});
  set_threads(1);
  const CausalLM again = CausalLM::init(config(), 1, {.dtype = DType::BFloat16, .trainable = true});
  set_threads(0);
  EXPECT_TRUE(same_weights(model, again));  // whatever the threads and the packed order
  const CausalLM other = CausalLM::init(config(), 2, {});
  EXPECT_FALSE(values(model, "lm_head.weight").equal(values(other, "lm_head.weight")));
  EXPECT_FALSE(values(model, "lm_head.weight").equal(values(model, "model.embed_tokens.weight")));
  EXPECT_TRUE(values(model, "model.norm.weight").eq(1).all().item<bool>());

  ModelConfig large = config();
  large.vocab_size = 20000;
  const at::Tensor drawn =
      values(CausalLM::init(large, 1, {}), "lm_head.weight").to(at::kDouble) / large.initializer_range;
  // n = 640,000 draws: the mean's deviation is 1 / sqrt(n) = 0.00125, that of the second moment sqrt(2 / n) = 0.0018,
  // of the fourth sqrt(96 / n) = 0.012; five deviations each.
  EXPECT_NEAR(drawn.mean().item<double>(), 0, 0.0063);
  EXPECT_NEAR(drawn.pow(2).mean().item<double>(), 1, 0.009);
  EXPECT_NEAR(drawn.pow(4).mean().item<double>(), 3, 0.06);
}

TEST_P(EveryFamily, CloneAndMix) {
  const CausalLM one = CausalLM::init(config(), 1, {}), two = CausalLM::init(config(), 2, {});
  CausalLM copy = one.clone({.dtype = DType::BFloat16, .trainable = true});
  EXPECT_TRUE(same_weights(copy, one));
  EXPECT_TRUE(copy.parameter("lm_head.weight").trainable);
  EXPECT_EQ(copy.dtype(), DType::BFloat16);
  const at::Tensor before = hidden(copy);

  copy.mix_from(two, 0.25);
  const std::string name = "lm_head.weight";
  const at::Tensor want = values(two, name) * 0.25 + values(one, name) * 0.75;
  // Three roundings of numbers of order 1.
  EXPECT_LE((values(copy, name) - want).abs().max().item<double>(), 3 * 0x1p-24);
  EXPECT_FALSE(hidden(copy).equal(before));  // the compute copy follows
  copy.mix_from(two, 1);
  EXPECT_TRUE(same_weights(copy, two));
  EXPECT_TRUE(hidden(copy).equal(hidden(two.clone({.dtype = DType::BFloat16}))));
  EXPECT_TRUE(same_weights(one, CausalLM::init(config(), 1, {})));  // a copy has tensors of its own

  ModelConfig wider = config();
  wider.intermediate_size = 48;
  const CausalLM other = CausalLM::init(wider, 1, {});
  EXPECT_NE(error_text([&] { copy.mix_from(other, 0.5); }).find("of the same configuration"), std::string::npos);
  EXPECT_NE(error_text([&] { copy.mix_from(two, 1.5); }).find("expected alpha from 0 to 1, got 1.5"),
            std::string::npos);
}

TEST_P(EveryFamily, ListsTensorsThatDoNotFit) {
  const std::string text = says_with([](std::vector<NamedTensor>& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (name == "model.layers.0.self_attn.k_proj.weight") tensor = tensor.slice(0, 0, 5);
      if (name == "model.layers.0.self_attn.v_proj.weight") tensor = tensor.to(at::kInt);
      if (name == "model.layers.0.mlp.up_proj.weight") name = "model.layers.0.mlp.up_proj.scale";
    }
  });
  EXPECT_NE(text.find("the weights do not fit the configuration (4 tensors):"
                      "\n  misshapen: model.layers.0.self_attn.k_proj.weight: expected [32, 32], got [5, 32]"
                      "\n  mistyped: model.layers.0.self_attn.v_proj.weight: expected floating-point elements, got I32"
                      "\n  missing: model.layers.0.mlp.up_proj.weight [40, 32]"
                      "\n  extra: model.layers.0.mlp.up_proj.scale [40, 32]"),
            std::string::npos)
      << text;
}

TEST_P(EveryFamily, SaveGuardsTheFolder) {
  const CausalLM model = CausalLM::init(config(), 1, {});
  const auto says = [&](const std::string& target) {
    return error_text([&] { model.save(folder_ / target, nullptr, DType::Float32); });
  };
  ensure_directory(folder_ / "mine");
  testing::write_bytes(folder_ / "mine/thesis.txt", "x");
  EXPECT_NE(says("mine").find("expected a new or empty folder or a model folder"), std::string::npos);
  EXPECT_NE(says("mine/thesis.txt").find("expected a folder, found a file"), std::string::npos);
  ensure_directory(folder_ / "sharded");
  testing::write_bytes(folder_ / "sharded/config.json", "{}");
  testing::write_bytes(folder_ / "sharded/model.safetensors.index.json", "{}");
  EXPECT_NE(says("sharded").find("holds a sharded model"), std::string::npos);
}

// As a kill leaves it: weights replaced, the rest not yet.
TEST_P(EveryFamily, AnInterruptedSaveIsNoModelAndCanBeRepeated) {
  const CausalLM model = CausalLM::init(config(), 1, {}), other = CausalLM::init(config(), 2, {});
  const std::string out = folder_ / "out";
  model.save(out, nullptr, DType::Float32);
  ensure_directory(out + "/generation_config.json.folder");  // a rename onto it fails
  std::filesystem::remove(out + "/generation_config.json");
  std::filesystem::rename(out + "/generation_config.json.folder", out + "/generation_config.json");
  EXPECT_NE(error_text([&] { other.save(out, nullptr, DType::Float32); }).find("cannot replace"), std::string::npos);
  EXPECT_NE(error_text([&] { CausalLM::load(out, {}); }).find("expected config.json"), std::string::npos);
  std::filesystem::remove(out + "/generation_config.json");
  testing::write_bytes(out + "/model.safetensors.new-12-0", "half");
  other.save(out, nullptr, DType::Float32);
  EXPECT_TRUE(same_weights(CausalLM::load(out, {}), other));
}

TEST_P(EveryFamily, LargeModelsAreCutIntoShards) {
  const CausalLM model = CausalLM::init(config(), 1, {});
  const std::int64_t limit = 2 * 70 * 32 * 4 - 4;  // no room for embedding and head together
  model.save(folder_ / "out", nullptr, DType::Float32, limit);
  const Json index = parse_json(read_file(folder_ / "out/model.safetensors.index.json"));
  EXPECT_EQ(index.at("metadata").at("total_size").as_int(), num_parameters(config()) * 4);
  EXPECT_EQ(index.at("weight_map").size(), model.parameters().size());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/model.safetensors"));
  std::size_t shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "out")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++shards;
    std::int64_t bytes = 0;
    for (const NamedTensor& item : load_safetensors(entry.path()))
      bytes += static_cast<std::int64_t>(item.tensor.nbytes());
    EXPECT_LE(bytes, limit);
    EXPECT_NE(entry.path().filename().string().find("-of-0000"), std::string::npos);
  }
  EXPECT_GE(shards, 3u);
  EXPECT_TRUE(same_weights(CausalLM::load(folder_ / "out", {}), model));
  const std::string whole = folder_ / "whole";
  model.save(whole, nullptr, DType::Float32);
  EXPECT_NE(error_text([&] { model.save(whole, nullptr, DType::Float32, limit); }).find("needs shards"),
            std::string::npos);
}

TEST_P(EveryFamily, LoadSaysWhatIsMissing) {
  EXPECT_NE(error_text([&] { CausalLM::load(folder_ / "nowhere", {}); }).find("found nothing"), std::string::npos);
  ensure_directory(folder_ / "empty");
  EXPECT_NE(error_text([&] { CausalLM::load(folder_ / "empty", {}); }).find("expected config.json"), std::string::npos);
  testing::write_bytes(folder_ / "empty/config.json", to_config_json(config()).dump());
  EXPECT_NE(error_text([&] { CausalLM::load(folder_ / "empty", {}); }).find("expected model.safetensors"),
            std::string::npos);
}

TEST_P(EveryFamily, StopIdsComeFromBothFiles) {
  CausalLM::init(config(), 1, {}).save(folder_ / "out", nullptr, DType::Float32);
  testing::write_bytes(folder_ / "out/generation_config.json", R"({"eos_token_id": [5, 9]})");
  EXPECT_EQ(CausalLM::load(folder_ / "out", {}).config().eos_ids, (std::vector<std::int32_t>{2, 5, 9}));
}

TEST_P(EveryFamily, ExportTakesTheTokenizerAlong) {
  const std::vector<std::string> texts{"one and one is two"};
  Tokenizer::TrainOptions options;
  options.vocab_size = 60;
  options.alphabet = "abcdefghijklmnopqrstuvwxyz ";
  const std::string json = Tokenizer::train(texts, options);
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  const CausalLM model = CausalLM::init(config(), 1, {});
  model.save(folder_ / "out", &tokenizer, DType::Float32);
  EXPECT_EQ(read_file(folder_ / "out/tokenizer.json"), json);

  // All files of a folder, byte for byte, odd spacing and unknown fields included.
  const std::pair<const char*, std::string> files[] = {
      {"tokenizer.json", json + "\n\n"},
      {"tokenizer_config.json", R"({ "unheard_of" : [1],   "eos_token":"a" })"},
      {"special_tokens_map.json", "{\n\t\"eos_token\": \"a\"}"},
      {"chat_template.jinja", "{{ messages }}\r\n"},
      {"vocab.json", "{}"},
      {"merges.txt", "#version: 0.2"}};
  ensure_directory(folder_ / "source");
  for (const auto& [name, bytes] : files) testing::write_bytes(folder_ / "source/" + name, bytes);
  const Tokenizer loaded = Tokenizer::load(folder_ / "source");
  model.save(folder_ / "copy", &loaded, DType::Float32);
  for (const auto& [name, bytes] : files) EXPECT_EQ(read_file(folder_ / "copy/" + name), bytes) << name;

  ModelConfig small = config();
  small.vocab_size = tokenizer.vocab_size() - 1;
  EXPECT_EQ(error_text([&] { check_vocabulary(small, tokenizer); }),
            "the model's vocabulary is smaller than the tokenizer's: expected vocab_size of at least " +
                std::to_string(tokenizer.vocab_size()) + ", got " + std::to_string(small.vocab_size));
}

// Ranks hand a layer's gradients on when it is said to be done: they are whole then, and the next layer's not begun.
TEST_P(EveryFamily, LayersAreDoneOneByOneFromTheLast) {
  ModelConfig three = config();
  three.num_layers = 3;
  CausalLM model = CausalLM::init(three, 1, {.trainable = true});
  const std::vector<std::vector<Parameter*>> order = model.backward_order();
  for (const bool recompute : {false, true}) {
    model.set_recompute(recompute);
    for (Parameter* parameter : model.parameters()) parameter->grad = at::Tensor();
    std::vector<std::size_t> done;
    std::vector<std::pair<Parameter*, at::Tensor>> seen;
    model.on_layer_backward([&](std::size_t group) {
      done.push_back(group);
      for (Parameter* parameter : order[group]) seen.emplace_back(parameter, parameter->grad.clone());
      if (group + 1 < order.size() - 1) {
        for (const Parameter* parameter : order[group + 1]) EXPECT_FALSE(parameter->grad.defined()) << parameter->name;
      }
    });
    const at::Tensor y = model.forward(separate_sequences({some_tokens(50, 1, 70), some_tokens(9, 2, 70)}));
    (y * y.detach().sin()).sum().backward();
    EXPECT_EQ(done, (std::vector<std::size_t>{0, 1, 2}));
    for (const auto& [parameter, grad] : seen) EXPECT_TRUE(grad.equal(parameter->grad)) << parameter->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EveryFamily, ::testing::ValuesIn([] {
                           std::vector<const char*> names;
                           for (const Family& family : families()) names.push_back(family.model_type);
                           return names;
                         }()),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace grpo::inline GRPO_ABI
