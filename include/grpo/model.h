// Causal language models: configuration, weights in and out, one forward for training, prefill and decode.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <grpo/config.h>
#include <grpo/error.h>
#include <grpo/ops.h>
#include <grpo/text.h>

namespace grpo::inline GRPO_ABI {

// How rotary frequencies are changed for contexts longer than the first training's; Hugging Face's names and meanings.
struct RopeScaling {
  enum class Type { None, Linear, Llama3, Yarn };
  Type type = Type::None;
  double factor = 1;
  std::int64_t original_max_positions = 0;           // Llama3, Yarn
  double low_freq_factor = 1, high_freq_factor = 4;  // Llama3
  double beta_fast = 32, beta_slow = 1;              // Yarn
  double attention_factor = 1;                       // Yarn: times cosines and sines
};

// Architecture, as a Hugging Face config.json or GGUF metadata gives it.
struct ModelConfig {
  std::string family = "llama";  // Hugging Face model_type: llama, qwen2, qwen3
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 2048;
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_embeddings = false;
  bool attention_bias = false;  // of the four projections; llama only (qwen2 always has its three)
  bool mlp_bias = false;        // llama only
  double initializer_range = 0.02;
  std::optional<std::int32_t> bos_id;
  std::vector<std::int32_t> eos_ids;  // stop ids: config.json, generation_config.json
  std::optional<std::int32_t> pad_id;
};
// Settings that it cannot honour (unknown rope scaling, activation, sliding window ...) are refused by name.
GRPO_API ModelConfig parse_model_config(const Json& config_json);
// Of a model folder, a GGUF file (its metadata) or a config.json; no weight is touched.
GRPO_API ModelConfig load_model_config(const std::string& path);
// Name and logical shape of every weight, in file order.
struct WeightShape {
  std::string name;
  std::vector<std::int64_t> shape;
};
GRPO_API std::vector<WeightShape> weight_shapes(const ModelConfig& config);
GRPO_API Json to_config_json(const ModelConfig& config);
GRPO_API std::int64_t num_parameters(const ModelConfig& config);
// Throws Error when the tokenizer has ids that the model has no row for; a larger model (padding) is fine.
GRPO_API void check_vocabulary(const ModelConfig& config, const Tokenizer& tokenizer);

// Tokens of a forward: flat, no padding. Without a cache each sequence stands alone or continues `prefix`; with a cache
// each appends to cache sequence `cache`.
struct BatchSequence {
  std::int64_t begin = 0, end = 0;
  std::int32_t prefix = -1;
  std::int32_t cache = -1;
};
struct TokenBatch {
  std::vector<std::int32_t> tokens;
  std::vector<BatchSequence> sequences;
};

// Steps of a run folder's complete checkpoints, ascending, and the last of them.
GRPO_API std::vector<std::int64_t> checkpoint_steps(const std::string& run_folder);
GRPO_API std::optional<std::int64_t> newest_checkpoint(const std::string& run_folder);
// That checkpoint's folder, which is a model folder; any path that is no run folder as it is.
GRPO_API std::string resolve_model_path(const std::string& path);
// The folder of the checkpoint that best.json names. Throws Error when the run has none (eval.best).
GRPO_API std::string best_checkpoint_path(const std::string& run_folder);

inline constexpr std::int64_t kMaxShardBytes = 5'000'000'000;
enum class GgufType { F32, F16, BF16, Q8_0 };

class CausalLM;

// Keys and values of live sequences in blocks of 32 positions. A fork shares whole blocks and copies the partial last
// one.
class GRPO_API KvCache {
 public:
  KvCache(const CausalLM& model, std::int64_t capacity_tokens);  // rounded up to blocks; allocated as used
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;
  ~KvCache();

  std::int32_t open();                       // a new empty sequence
  std::int32_t fork(std::int32_t sequence);  // shares its history
  void close(std::int32_t sequence);
  std::int64_t length(std::int32_t sequence) const;
  std::int64_t free_blocks() const;
  // Blocks that appending `tokens` to a sequence of `length` would take.
  static std::int64_t blocks_needed(std::int64_t length, std::int64_t tokens);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// Movable handle. Forward is const but adds to gradients during backward; one thread at a time per model.
class GRPO_API CausalLM {
 public:
  struct Options {
    DType dtype = DType::Float32;  // fp32 masters are kept with either, in frozen models too
    bool trainable = false;
  };
  // Hugging Face folder (config.json + safetensors) or GGUF file. Missing, extra and misshapen tensors are one Error
  // that lists them.
  static CausalLM load(const std::string& path, const Options& options);
  // Random weights: normal(0, initializer_range), norms 1; addressed by (seed, parameter, element).
  static CausalLM init(const ModelConfig& config, std::int64_t seed, const Options& options);
  // The same weights in tensors of its own (a reference policy).
  CausalLM clone(const Options& options) const;
  // this <- alpha * other + (1 - alpha) * this.
  void mix_from(const CausalLM& other, double alpha);

  CausalLM(CausalLM&&) noexcept;
  CausalLM& operator=(CausalLM&&) noexcept;
  ~CausalLM();

  const ModelConfig& config() const;
  DType dtype() const;
  // Final normed hidden states [T, D] of the batch's tokens. With a cache: appends, no gradient.
  at::Tensor forward(const TokenBatch& batch, KvCache* cache = nullptr) const;
  Parameter& head() const;                            // [V, D]; the embedding when tied
  const std::vector<Parameter*>& parameters() const;  // in file order, each once
  Parameter& parameter(const std::string& name) const;
  // Parameters in groups, in the order in which backward completes their gradients: layers, the last first, then the
  // others.
  std::vector<std::vector<Parameter*>> backward_order() const;
  // Called in every backward with the index of a layer's group in backward_order(), as its gradients are complete.
  // Empty: off.
  void on_layer_backward(std::function<void(std::size_t group)> callback);
  // Whether a forward keeps, for backward, only the input of each layer, and backward computes the layer again: less
  // memory for one more forward, and the same bits. Off at the start.
  void set_recompute(bool on);
  bool recompute() const;

  // Writes config.json, generation_config.json, the tokenizer's files as they were read, and the weights in fp32 or
  // bf16: model.safetensors or, when they take more than `max_shard_bytes`, shards with an index.
  void save(const std::string& folder, const Tokenizer* tokenizer, DType dtype,
            std::int64_t max_shard_bytes = kMaxShardBytes) const;
  // Writes a GGUF file for llama.cpp. Matrices are of `type` (rows that blocks of 32 do not divide: F16), vectors F32.
  void save_gguf(const std::string& path, const Tokenizer* tokenizer, GgufType type) const;

 private:
  struct Impl;
  explicit CausalLM(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Named tensors of a safetensors file, logical shapes, for checkpoints and exports.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};
GRPO_API void save_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                               const Json& metadata = {});
// Every header rule is checked (offsets, gaps, overlaps, duplicates, sizes).
GRPO_API std::vector<NamedTensor> load_safetensors(const std::string& path, Json* metadata = nullptr);

}  // namespace grpo::inline GRPO_ABI
