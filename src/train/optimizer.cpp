#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <numbers>
#include <unordered_map>

#include <fmt/format.h>
#include <grpo/train.h>

namespace grpo::inline GRPO_ABI {

double learning_rate_at(const OptimizerSection& config, std::int64_t step, std::int64_t max_steps) {
  // `step` counts from 0: the rate of the step + 1st update.
  const double peak = config.learning_rate;
  if (step < config.warmup_steps)
    return peak * static_cast<double>(step + 1) / static_cast<double>(config.warmup_steps + 1);
  const double span = static_cast<double>(std::max<std::int64_t>(1, max_steps - config.warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - config.warmup_steps) / span);
  switch (config.schedule) {
    case Schedule::Constant:
      return peak;
    case Schedule::Linear:
      return peak * (config.min_lr_ratio + (1 - config.min_lr_ratio) * (1 - progress));
    case Schedule::Cosine:
      return peak *
             (config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    case Schedule::Step: {
      const std::int64_t decays = (step - config.warmup_steps) / std::max(1, config.step_size);
      return peak * std::pow(config.step_gamma, static_cast<double>(decays));
    }
  }
  throw Error("learning_rate_at: unknown schedule", ErrorKind::Internal);
}

struct Optimizer::Impl {
  struct Slot {
    Parameter* parameter;
    at::Tensor moment1, moment2;
  };
  std::vector<Slot> slots;
  OptimizerSection config;
  std::int64_t max_steps = 0;
  std::int64_t steps_done = 0;
};

Optimizer::Optimizer(std::vector<Parameter*> parameters, const OptimizerSection& config, std::int64_t max_steps)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->max_steps = max_steps;
  for (Parameter* parameter : parameters)
    if (parameter->trainable)
      impl_->slots.push_back({parameter, at::zeros_like(parameter->master), at::zeros_like(parameter->master)});
}
Optimizer::Optimizer(Optimizer&&) noexcept = default;
Optimizer& Optimizer::operator=(Optimizer&&) noexcept = default;
Optimizer::~Optimizer() = default;

Optimizer::Report Optimizer::step() {
  std::vector<Parameter*> parameters;
  for (const Impl::Slot& slot : impl_->slots) parameters.push_back(slot.parameter);
  const OptimizerSection& config = impl_->config;
  Report report{grad_norm(parameters), learning_rate_at(config, impl_->steps_done, impl_->max_steps)};
  AdamWStep update{.learning_rate = report.learning_rate,
                   .beta1 = config.beta1,
                   .beta2 = config.beta2,
                   .epsilon = config.epsilon,
                   .weight_decay = 0,
                   .grad_scale = 1,
                   .step = ++impl_->steps_done};
  if (config.max_grad_norm > 0 && report.grad_norm > config.max_grad_norm)
    update.grad_scale = config.max_grad_norm / report.grad_norm;
  for (Impl::Slot& slot : impl_->slots) {
    // Decay is for matrices; norms and biases have none, as in Hugging Face's trainers.
    update.weight_decay = slot.parameter->layout == ParameterLayout::Panels ? config.weight_decay : 0.0;
    adamw(*slot.parameter, slot.moment1, slot.moment2, update);
  }
  return report;
}

std::int64_t Optimizer::steps_done() const { return impl_->steps_done; }

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state;
  for (const Impl::Slot& slot : impl_->slots) {
    state.push_back({"moment1." + slot.parameter->name, unpack_like(*slot.parameter, slot.moment1)});
    state.push_back({"moment2." + slot.parameter->name, unpack_like(*slot.parameter, slot.moment2)});
  }
  return state;
}

void Optimizer::load_state(const std::vector<NamedTensor>& state, std::int64_t steps_done) {
  std::unordered_map<std::string, const at::Tensor*> by_name;
  for (const NamedTensor& entry : state) by_name[entry.name] = &entry.tensor;
  GRPO_CHECK(by_name.size() == 2 * impl_->slots.size(),
             fmt::format("optimizer state: expected {} tensors, got {}", 2 * impl_->slots.size(), by_name.size()));
  const auto find = [&](const std::string& name) -> const at::Tensor& {
    const auto it = by_name.find(name);
    GRPO_CHECK(it != by_name.end(), fmt::format("optimizer state: tensor '{}' is missing", name));
    return *it->second;
  };
  for (Impl::Slot& slot : impl_->slots) {
    slot.moment1 = pack_like(*slot.parameter, find("moment1." + slot.parameter->name));
    slot.moment2 = pack_like(*slot.parameter, find("moment2." + slot.parameter->name));
  }
  impl_->steps_done = steps_done;
}

}  // namespace grpo::inline GRPO_ABI
