// The one bridge to LibTorch's autograd engine.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <grpo/ops.h>

namespace grpo::ops {

using Tensors = std::vector<at::Tensor>;
using Backward = std::function<Tensors(const Tensors&)>;

// Grad mode is on, and an input requires grad or a parameter (null: none) is trainable.
bool wants_grad(std::initializer_list<at::Tensor> inputs, std::initializer_list<const Parameter*> parameters = {});

// record_backward() for an operation that `wants_grad`. When only parameters want it, the graph starts here, at a node
// without next edges. `backward` may hold inputs, but outputs only detached (an output holds its node).
void record(std::string name, const Tensors& inputs, const Tensors& outputs, Backward backward);

}  // namespace grpo::ops
