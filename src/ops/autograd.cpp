#include "ops/autograd.h"

#include <memory>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

namespace grpo::inline GRPO_ABI {
namespace {

using torch::autograd::variable_list;

// An input's version when the operation ran: backward must not read values that were overwritten since.
struct SeenVersion {
  c10::VariableVersion counter;
  std::uint32_t version = 0;
};

class BackwardNode final : public torch::autograd::Node {
 public:
  BackwardNode(std::string name, ops::Backward backward, const ops::Tensors& inputs)
      : name_(std::move(name)), backward_(std::move(backward)) {
    for (const at::Tensor& input : inputs) {
      if (!input.defined()) continue;
      const c10::VariableVersion& counter = input.unsafeGetTensorImpl()->version_counter();
      if (counter.enabled()) seen_.push_back({counter, counter.current_version()});
    }
  }

  std::string name() const override { return name_; }

  // Called by the engine, for a whole graph on one thread.
  variable_list apply(variable_list&& grads) override {
    GRPO_CHECK(backward_,
               "[" + name_ + "] backward: expected a graph that was not used, got a second backward through it");
    GRPO_CHECK(!at::GradMode::is_enabled(), "[" + name_ + "] backward: gradients of gradients are not supported");
    for (const SeenVersion& seen : seen_) {
      GRPO_CHECK(seen.counter.current_version() == seen.version,
                 "[" + name_ + "] backward: an input was modified in place after the operation");
    }
    variable_list result = backward_(grads);
    GRPO_CHECK(result.size() == num_outputs(), "[" + name_ + "] backward: expected " + std::to_string(num_outputs()) +
                                                   " gradients, one per input, got " + std::to_string(result.size()));
    return result;
  }

  void release_variables() override {
    backward_ = nullptr;
    seen_.clear();
  }

 private:
  std::string name_;
  ops::Backward backward_;
  std::vector<SeenVersion> seen_;
};

bool any_requires_grad(const ops::Tensors& tensors) {
  for (const at::Tensor& t : tensors) {
    if (t.defined() && t.requires_grad()) return true;
  }
  return false;
}

}  // namespace

}  // namespace grpo::inline GRPO_ABI

namespace grpo::ops {

bool wants_grad(std::initializer_list<at::Tensor> inputs, std::initializer_list<const Parameter*> parameters) {
  if (!at::GradMode::is_enabled()) return false;
  for (const Parameter* parameter : parameters) {
    if (parameter != nullptr && parameter->trainable) return true;
  }
  return any_requires_grad(inputs);
}

void record(std::string name, const Tensors& inputs, const Tensors& outputs, Backward backward) {
  // deleteNode takes deep graphs apart without recursion.
  std::shared_ptr<BackwardNode> node(new BackwardNode(std::move(name), std::move(backward), inputs),
                                     torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  for (const at::Tensor& output : outputs) {
    const auto index = node->add_input_metadata(output);
    torch::autograd::impl::set_gradient_edge(output, {node, index});
  }
}

}  // namespace grpo::ops

namespace grpo::inline GRPO_ABI {

void record_backward(const std::string& name, const std::vector<at::Tensor>& inputs,
                     const std::vector<at::Tensor>& outputs,
                     std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> backward) {
  GRPO_CHECK(backward, "[record_backward] " + name + ": expected a function, got none");
  GRPO_CHECK(!outputs.empty(), "[record_backward] " + name + ": expected at least one output, got none");
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string what = "[record_backward] " + name + ": output " + std::to_string(i) + ": expected ";
    GRPO_CHECK(outputs[i].defined() && outputs[i].is_floating_point(), what + "a floating-point tensor, got another");
    GRPO_CHECK(!outputs[i].requires_grad(),
               what + "a tensor outside the graph (use at::NoGradGuard), got one that requires grad");
    for (const at::Tensor& input : inputs) {
      GRPO_CHECK(!input.is_same(outputs[i]), what + "a new tensor, got an input");
    }
  }
  if (at::GradMode::is_enabled() && any_requires_grad(inputs)) ops::record(name, inputs, outputs, std::move(backward));
}

at::Tensor recomputed(const at::Tensor& x, std::function<at::Tensor(const at::Tensor&)> f) {
  GRPO_CHECK(f, "[recomputed] f: expected a function, got none");
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return f(x);
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    y = f(x);
  }
  record_backward("recomputed", {x}, {y}, [x = x.detach(), f = std::move(f)](const ops::Tensors& grads) {
    if (!grads[0].defined()) return ops::Tensors(1);
    const at::Tensor input = x.detach().set_requires_grad(true);
    const at::AutoGradMode with_graph(true);
    f(input).backward(grads[0]);
    return ops::Tensors{input.grad()};
  });
  return y;
}

}  // namespace grpo::inline GRPO_ABI
