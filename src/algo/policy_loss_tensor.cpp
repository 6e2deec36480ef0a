#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>
#include <grpo/algo.h>
#include <grpo/ops.h>

namespace grpo::inline GRPO_ABI {
namespace {

std::vector<double> to_doubles(const at::Tensor& values, const char* name) {
  GRPO_CHECK(values.defined() && values.dim() == 1 && values.scalar_type() == at::kFloat && values.is_cpu(),
             fmt::format("policy_loss: {}: expected fp32 [N] on the CPU", name));
  const at::Tensor flat = values.detach().contiguous();
  const float* data = flat.const_data_ptr<float>();
  return {data, data + flat.numel()};
}

at::Tensor to_tensor(const std::vector<double>& values, double factor) {
  const at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kFloat);
  float* data = tensor.data_ptr<float>();
  for (std::size_t i = 0; i < values.size(); ++i) data[i] = static_cast<float>(values[i] * factor);
  return tensor;
}

}  // namespace

at::Tensor policy_loss(const at::Tensor& logprobs, const at::Tensor& entropies, const LossBatch& batch,
                       const LossConfig& config, const Denominators& denominators,
                       std::map<std::string, double>* sums) {
  const std::vector<double> logps = to_doubles(logprobs, "logprobs");
  std::vector<double> entropy_values;
  if (entropies.defined()) entropy_values = to_doubles(entropies, "entropies");
  LossBatch values = batch;
  values.logps = logps;
  values.entropies = entropy_values;
  LossResult result = policy_loss(values, config, denominators);
  if (sums) *sums = result.sums;
  const at::Tensor loss = at::scalar_tensor(result.loss, at::kDouble);
  std::vector<at::Tensor> inputs = {logprobs};
  if (entropies.defined()) inputs.push_back(entropies);
  record_backward("policy_loss", inputs, {loss},
                  [grad = std::move(result.grad), entropy_grad = std::move(result.entropy_grad),
                   has_entropies = entropies.defined()](const std::vector<at::Tensor>& upstream) {
                    const double factor = upstream[0].defined() ? upstream[0].item<double>() : 0.0;
                    std::vector<at::Tensor> gradients = {to_tensor(grad, factor)};
                    if (has_entropies)
                      gradients.push_back(entropy_grad.empty() ? at::Tensor() : to_tensor(entropy_grad, factor));
                    return gradients;
                  });
  return loss;
}

}  // namespace grpo::inline GRPO_ABI
