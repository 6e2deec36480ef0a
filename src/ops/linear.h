// Products whose backward computes their input again instead of keeping it.
#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include <grpo/ops.h>

namespace grpo::ops {

// Gives a tensor's bits again, outside the graph.
using Again = std::function<at::Tensor()>;
// `make`, called once for all copies of this and kept as long as one of them.
Again once(Again make);

// linear() of x. With `again` the backward takes x from there; empty: it keeps x.
at::Tensor linear(const at::Tensor& x, Again again, Parameter& weight, Parameter* bias);

}  // namespace grpo::ops
