// Memory that every step takes and gives back: activations, gradients, caches, temporary copies. What one tensor gave
// back the next one gets, so a process holds what was in use at once and does not ask the system for pages anew. (The C
// library would: in its heap an aligned block does not fit where one of the same size was.)
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo::ops {

// Uninitialised, contiguous, from a multiple of 64 bytes.
at::Tensor pooled(at::IntArrayRef sizes, at::ScalarType type);

// Bytes that are free in it though the system counts them as taken.
std::int64_t free_pool_bytes();
// Gives what is free back to the system.
void trim_pool();

}  // namespace grpo::ops
