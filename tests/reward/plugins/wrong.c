/* Plug-ins that must be refused; each build has one fault. */
#include <grpo/plugin_abi.h>
#include <stddef.h>

static int32_t create(const grpo_host_v1* host, const grpo_value_v1* values, void** self, grpo_buffer* error) {
  (void)host, (void)values, (void)self, (void)error;
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
  (void)self, (void)answers, (void)out, (void)error;
  return (int64_t)n;
}

static const grpo_param_v1 kParam = {
    .struct_size = sizeof(grpo_param_v1), .type = GRPO_NUMBER, .name = {"limit", 5}, .low = 1, .high = 2};
static const grpo_param_v1* const kParams[] = {&kParam};

#ifdef WRONG_ABI
#define ABI 7
#else
#define ABI GRPO_PLUGIN_ABI
#endif
#ifdef WRONG_SIZE
#define SIZE offsetof(grpo_reward_v1, score)
#else
#define SIZE sizeof(grpo_reward_v1)
#endif
static const grpo_reward_v1 kTable = {
    .abi = ABI,
    .struct_size = SIZE,
    .type = {"wrong", 5},
    .create = create,
    .destroy = destroy,
    .range = range,
#ifdef WRONG_PARAM /* whose default is 0 */
    .params = kParams,
    .n_params = 1,
#endif
#ifndef WRONG_FUNCTION
    .score = score,
#endif
};

#ifdef WRONG_SYMBOL
#define grpo_reward_plugin another_name
const grpo_reward_v1* another_name(uint32_t host_abi, uint32_t index);
#endif
const grpo_reward_v1* grpo_reward_plugin(uint32_t host_abi, uint32_t index) {
  (void)host_abi, (void)kParams, (void)score;
  return index == 0 ? &kTable : 0;
}
