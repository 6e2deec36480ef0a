/* A plug-in without the C++ adapter: 1 for an even number of tokens. */
#include <grpo/plugin_abi.h>
#include <string.h>

static int32_t create(const grpo_host_v1* host, const grpo_value_v1* values, void** self, grpo_buffer* error) {
  (void)host, (void)values, (void)error;
  *self = 0;
  return 0;
}

static void destroy(void* self) { (void)self; }

static int32_t range(const void* self, double* min, double* max, grpo_buffer* error) {
  (void)self, (void)error;
  *min = 0, *max = 1;
  return 0;
}

static int64_t score(const void* self, const grpo_answer_v1* const* answers, uint64_t n, grpo_verdict_v1* out,
                     grpo_buffer* error) {
  (void)self, (void)error;
  for (uint64_t i = 0; i < n; ++i) {
    out[i].score = answers[i]->n_token_ids % 2 == 0 ? 1 : 0;
    memcpy(out[i].verdict, "counted", sizeof "counted");
  }
  return (int64_t)n;
}

const grpo_reward_v1* grpo_reward_plugin(uint32_t host_abi, uint32_t index) {
  static const grpo_reward_v1 kEven = {.abi = GRPO_PLUGIN_ABI,
                                       .struct_size = sizeof(grpo_reward_v1),
                                       .type = {"even", 4},
                                       .create = create,
                                       .destroy = destroy,
                                       .range = range,
                                       .score = score};
  (void)host_abi;
  return index == 0 ? &kEven : 0;
}
