#include "model/causal_lm.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "model/batch_plan.h"
#include "model/gguf.h"
#include "model/kv_cache.h"
#include "model/rope.h"
#include "model/safetensors.h"
#include "model/weights.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::int64_t kLeastTableRows = 256;
constexpr std::string_view kLayerPrefix = "model.layers.";

}  // namespace

CausalLM::Impl::Impl(const ModelConfig& model_config, const Options& model_options)
    : config(model_config),
      options(model_options),
      family(&family_named(model_config.family)),
      specs(family->weights(config)) {}

Parameter& CausalLM::Impl::add_parameter() {
  const WeightSpec& spec = specs.at(owned.size());
  owned.push_back(std::make_unique<Parameter>(make_parameter(spec.name, spec.shape, options.dtype, options.trainable)));
  parameters.push_back(owned.back().get());
  return *parameters.back();
}

const at::Tensor& CausalLM::Impl::rope_table_for(std::int64_t max_position) {
  if (rope_table.defined() && rope_table.size(0) > max_position) return rope_table;
  std::int64_t rows = kLeastTableRows;
  while (rows <= max_position) rows *= 2;
  rope_table = make_rope_table(std::min(rows, std::max(config.max_positions, max_position + 1)), config);
  return rope_table;
}

CausalLM::CausalLM(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CausalLM::CausalLM(CausalLM&&) noexcept = default;
CausalLM& CausalLM::operator=(CausalLM&&) noexcept = default;
CausalLM::~CausalLM() = default;

CausalLM CausalLM::load(const std::string& path, const Options& options) {
  GRPO_CHECK(std::filesystem::exists(path), path + ": expected a model folder or a GGUF file, found nothing");
  ModelConfig config;
  WeightFile file;
  file.path = path;
  if (std::filesystem::is_directory(path)) {
    config = load_model_config(path);
    file.tensors = open_weights_folder(path);
  } else {
    GgufModel gguf = open_gguf(path);
    config = std::move(gguf.config);
    file.format = WeightFormat::Gguf;
    file.tensors = std::move(gguf.tensors);
  }
  auto impl = std::make_unique<Impl>(config, options);
  const std::vector<const StoredTensor*> tensors = match_weights(file, impl->specs);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    set_values(impl->add_parameter(), read_weight(*tensors[i], impl->specs[i], file.format));
  }
  return CausalLM(std::move(impl));
}

CausalLM CausalLM::init(const ModelConfig& config, std::int64_t seed, const Options& options) {
  // Through the parser, so that a configuration made in code keeps the same rules.
  auto impl = std::make_unique<Impl>(parse_model_config(to_config_json(config)), options);
  for (const WeightSpec& spec : impl->specs) {
    set_values(impl->add_parameter(), initial_weight(spec, seed, config.initializer_range));
  }
  return CausalLM(std::move(impl));
}

CausalLM CausalLM::clone(const Options& options) const {
  const at::NoGradGuard no_grad;
  auto impl = std::make_unique<Impl>(impl_->config, options);
  for (const Parameter* from : impl_->parameters) {
    Parameter& to = impl->add_parameter();
    if (to.dtype == from->dtype) {
      to.master.copy_(from->master);
      refresh_compute(to);
    } else {
      set_values(to, get_values(*from));
    }
  }
  return CausalLM(std::move(impl));
}

void CausalLM::mix_from(const CausalLM& other, double alpha) {
  GRPO_CHECK(alpha >= 0 && alpha <= 1, fmt::format("mix_from: expected alpha from 0 to 1, got {}", alpha));
  GRPO_CHECK(parameters().size() == other.parameters().size(), "mix_from: expected a model of the same configuration");
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < parameters().size(); ++i) {
    Parameter& to = *parameters()[i];
    const Parameter& from = *other.parameters()[i];
    GRPO_CHECK(to.name == from.name && to.shape == from.shape,
               "mix_from: " + to.name + ": expected a model of the same configuration");
    const at::Tensor values = to.dtype == from.dtype ? from.master : pack_like(to, get_values(from));
    if (alpha == 1) {
      to.master.copy_(values);
    } else {
      to.master.mul_(1 - alpha).add_(values, alpha);
    }
    refresh_compute(to);
  }
}

const ModelConfig& CausalLM::config() const { return impl_->config; }
DType CausalLM::dtype() const { return impl_->options.dtype; }
const std::vector<Parameter*>& CausalLM::parameters() const { return impl_->parameters; }

Parameter& CausalLM::head() const {
  return parameter(std::string(impl_->config.tie_embeddings ? kEmbeddingName : kHeadName));
}

Parameter& CausalLM::parameter(const std::string& name) const {
  for (Parameter* parameter : impl_->parameters) {
    if (parameter->name == name) return *parameter;
  }
  throw Error("parameter: the model has none named \"" + name + "\"");
}

std::vector<std::vector<Parameter*>> CausalLM::backward_order() const {
  std::vector<std::vector<Parameter*>> order(static_cast<std::size_t>(impl_->config.num_layers) + 1);
  for (Parameter* parameter : impl_->parameters) {
    std::size_t layer = 0;
    const std::string& name = parameter->name;
    const bool in_layer =
        name.starts_with(kLayerPrefix) &&
        std::from_chars(name.data() + kLayerPrefix.size(), name.data() + name.size(), layer).ec == std::errc();
    order.at(in_layer ? order.size() - 2 - layer : order.size() - 1).push_back(parameter);
  }
  return order;
}

void CausalLM::on_layer_backward(std::function<void(std::size_t)> callback) {
  impl_->layer_done = nullptr;
  if (!callback) return;
  impl_->layer_done = [callback = std::move(callback), last = impl_->config.num_layers - 1](std::int64_t layer) {
    callback(static_cast<std::size_t>(last - layer));
  };
}

void CausalLM::set_recompute(bool on) { impl_->recompute = on; }
bool CausalLM::recompute() const { return impl_->recompute; }

at::Tensor CausalLM::forward(const TokenBatch& batch, KvCache* cache) const {
  std::optional<at::NoGradGuard> no_grad;
  if (cache) no_grad.emplace();
  KvCache::Impl* store = cache ? &cache->impl() : nullptr;
  BatchPlan plan = plan_batch(batch, impl_->config, impl_->options.dtype, store);
  const at::Tensor hidden_TD = impl_->family->forward({.config = impl_->config,
                                                       .parameters = impl_->parameters,
                                                       .ids = std::move(plan.ids),
                                                       .positions = std::move(plan.positions),
                                                       .rope_table = impl_->rope_table_for(plan.max_position),
                                                       .attend = std::move(plan.attend),
                                                       .layer_done = impl_->layer_done,
                                                       .recompute = impl_->recompute});
  if (store) {
    for (const BatchSequence& s : batch.sequences) store->at(s.cache, "forward").length += s.end - s.begin;
  }
  return hidden_TD;
}

}  // namespace grpo::inline GRPO_ABI
