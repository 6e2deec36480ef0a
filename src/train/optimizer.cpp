#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <unordered_map>

#include <fmt/format.h>
#include <grpo/train.h>

#include "ops/checks.h"
#include "ops/huge_pages.h"
#include "ops/pool.h"
#include "train/plan.h"

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

namespace {

// Pieces end on multiples of this many elements: whole cache lines and vectors.
constexpr std::int64_t kPieceAlignment = 64;

// Elements of a flat parameter that each rank keeps: aligned pieces of one size, the last ones shorter or empty.
std::vector<std::size_t> piece_sizes(std::int64_t elements, int ranks) {
  const std::int64_t even = (elements + ranks - 1) / ranks;
  const std::int64_t piece = (even + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment;
  std::vector<std::size_t> sizes;
  for (std::int64_t begin = 0, rank = 0; rank < ranks; ++rank, begin += piece)
    sizes.push_back(static_cast<std::size_t>(std::clamp<std::int64_t>(elements - begin, 0, piece)));
  return sizes;
}

template <typename T>
std::span<T> span_of(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<std::remove_const_t<T>>(), static_cast<std::size_t>(tensor.numel())};
}

// In bytes of floats.
std::vector<std::size_t> byte_counts(std::vector<std::size_t> counts) {
  for (std::size_t& count : counts) count *= sizeof(float);
  return counts;
}

}  // namespace

std::int64_t largest_piece(std::int64_t elements, int ranks) {
  return static_cast<std::int64_t>(piece_sizes(elements, ranks).front());
}

struct Optimizer::Impl {
  struct Slot {
    Parameter* parameter;
    std::vector<std::size_t> counts;  // of every rank
    std::int64_t begin = 0;           // of this rank's piece
    at::Tensor moment1, moment2;      // of the piece
    at::Tensor grad;                  // of the piece, summed over ranks; undefined: nothing reduced yet
    std::int64_t count() const { return moment1.numel(); }
  };
  std::vector<Slot> slots;
  std::unordered_map<const Parameter*, std::size_t> slot_of;
  OptimizerSection config;
  std::int64_t max_steps = 0;
  std::int64_t steps_done = 0;
  Communicator* communicator = nullptr;

  int ranks() const { return communicator ? communicator->size() : 1; }
  int rank() const { return communicator ? communicator->rank() : 0; }

  void reduce(Slot& slot) {
    const float* values = ops::grad_data(*slot.parameter);
    const at::Tensor sum = ops::pooled({slot.count()}, at::kFloat);
    communicator->reduce_scatter({values, static_cast<std::size_t>(slot.parameter->elements())}, slot.counts,
                                 span_of<float>(sum));
    if (slot.grad.defined()) {
      slot.grad.add_(sum);
    } else {
      slot.grad = sum;
    }
  }

  // This rank's part of the gradient of the step.
  at::Tensor& gradient(Slot& slot) {
    if (ranks() > 1) return slot.grad;
    ops::grad_data(*slot.parameter);
    return slot.parameter->grad;
  }

  // The norm over all parameters and ranks.
  double norm() {
    double squares = 0;
    for (Slot& slot : slots) squares += squared_norm(*slot.parameter, slot.begin, gradient(slot));
    if (ranks() > 1) communicator->all_reduce(std::span<double>(&squares, 1));
    return std::sqrt(squares);
  }

  // The other ranks' pieces of a parameter.
  void gather(const Slot& slot) const {
    const std::span<float> all = span_of<float>(slot.parameter->master);
    const auto piece = all.subspan(static_cast<std::size_t>(slot.begin), static_cast<std::size_t>(slot.count()));
    communicator->all_gather(std::as_bytes(piece), byte_counts(slot.counts), std::as_writable_bytes(all));
    refresh_compute(*slot.parameter);
  }

  // A piece of every rank, put together on rank 0; undefined elsewhere.
  at::Tensor whole(const Slot& slot, const at::Tensor& piece) const {
    if (ranks() == 1) return piece;
    std::vector<std::size_t> sent(slot.counts.size()), received(slot.counts.size());
    sent[0] = static_cast<std::size_t>(piece.numel()) * sizeof(float);
    at::Tensor all;
    std::span<std::byte> target;
    if (rank() == 0) {
      received = byte_counts(slot.counts);
      all = ops::pooled({slot.parameter->elements()}, at::kFloat);
      target = std::as_writable_bytes(span_of<float>(all));
    }
    communicator->all_to_all(std::as_bytes(span_of<const float>(piece)), sent, target, received);
    return all;
  }

  void load_piece(const Slot& slot, const at::Tensor& logical, const at::Tensor& piece) const {
    piece.copy_(pack_like(*slot.parameter, logical).narrow(0, slot.begin, slot.count()));
  }
};

Optimizer::Optimizer(std::vector<Parameter*> parameters, const OptimizerSection& config, std::int64_t max_steps,
                     Communicator* communicator)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->max_steps = max_steps;
  impl_->communicator = communicator;
  const auto rank = static_cast<std::size_t>(impl_->rank());
  for (Parameter* parameter : parameters) {
    if (!parameter->trainable) continue;
    Impl::Slot slot{.parameter = parameter, .counts = piece_sizes(parameter->elements(), impl_->ranks())};
    for (std::size_t r = 0; r < rank; ++r) slot.begin += static_cast<std::int64_t>(slot.counts[r]);
    const auto count = static_cast<std::int64_t>(slot.counts[rank]);
    slot.moment1 = ops::zeros_on_huge_pages(count, at::kFloat);
    slot.moment2 = ops::zeros_on_huge_pages(count, at::kFloat);
    impl_->slot_of[parameter] = impl_->slots.size();
    impl_->slots.push_back(std::move(slot));
  }
}
Optimizer::Optimizer(Optimizer&&) noexcept = default;
Optimizer& Optimizer::operator=(Optimizer&&) noexcept = default;
Optimizer::~Optimizer() = default;

void Optimizer::reduce(const std::vector<Parameter*>& parameters) {
  if (impl_->ranks() == 1) return;
  for (Parameter* parameter : parameters) {
    if (!parameter->trainable) continue;
    const auto found = impl_->slot_of.find(parameter);
    GRPO_CHECK(found != impl_->slot_of.end(), "Optimizer::reduce: " + parameter->name + ": not of this optimiser");
    impl_->reduce(impl_->slots[found->second]);
    parameter->grad.reset();
  }
}

Optimizer::Report Optimizer::step() {
  const OptimizerSection& config = impl_->config;
  if (impl_->ranks() > 1)
    for (Impl::Slot& slot : impl_->slots) {
      if (slot.grad.defined()) continue;
      impl_->reduce(slot);
      slot.parameter->grad.reset();
    }
  Report report{impl_->norm(), learning_rate_at(config, impl_->steps_done, impl_->max_steps)};
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
    adamw_piece(*slot.parameter, slot.begin, impl_->gradient(slot), slot.moment1, slot.moment2, update);
    slot.grad.reset();
    slot.parameter->grad.reset();
    if (impl_->ranks() > 1) impl_->gather(slot);
  }
  return report;
}

std::int64_t Optimizer::steps_done() const { return impl_->steps_done; }

std::int64_t Optimizer::state_bytes() const {
  std::int64_t bytes = 0;
  for (const Impl::Slot& slot : impl_->slots) bytes += 2 * slot.count() * static_cast<std::int64_t>(sizeof(float));
  return bytes;
}

void Optimizer::each_state(const std::function<void(const std::string& name, const at::Tensor& tensor)>& take) const {
  for (const Impl::Slot& slot : impl_->slots)
    for (const auto& [prefix, piece] : {std::pair{"moment1.", &slot.moment1}, std::pair{"moment2.", &slot.moment2}}) {
      const at::Tensor flat = impl_->whole(slot, *piece);
      if (flat.defined()) take(prefix + slot.parameter->name, unpack_like(*slot.parameter, flat));
    }
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state;
  each_state([&](const std::string& name, const at::Tensor& tensor) { state.push_back({name, tensor}); });
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
  load_each_state(find, steps_done);
}

void Optimizer::load_each_state(const std::function<at::Tensor(const std::string& name)>& give,
                                std::int64_t steps_done) {
  for (Impl::Slot& slot : impl_->slots) {
    impl_->load_piece(slot, give("moment1." + slot.parameter->name), slot.moment1);
    impl_->load_piece(slot, give("moment2." + slot.parameter->name), slot.moment2);
  }
  impl_->steps_done = steps_done;
}

}  // namespace grpo::inline GRPO_ABI
