// Draws from rows of logits, for sample() and for the head's own pass.
#pragma once

#include <vector>

#include <grpo/ops.h>

#include "kernels/softmax.h"

namespace grpo::ops {

// Throws Error for options or numbers out of range.
kernels::DrawOptions checked_draw(const SampleOptions& options, const std::vector<double>& uniforms);
// One draw per row of logits [rows, vocab] and their statistics. Throws Error(Guard) for a row without a distribution.
std::vector<SampledToken> draw_rows(const float* logits, const kernels::ChunkStats* stats, std::int64_t rows,
                                    std::int64_t vocab, const kernels::DrawOptions& options,
                                    const std::vector<double>& uniforms);

}  // namespace grpo::ops
