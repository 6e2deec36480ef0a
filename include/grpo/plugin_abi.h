// Rewards in a shared library of their own, for any language: the C side of a plug-in.
//
// In C++ derive from grpo::plugin::Reward instead, in <grpo/plugin.h>. Worked through in docs/extending.md.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The host refuses tables of another version. Within one, structs that have a struct_size may grow at their end, and a
// table with a smaller one than the host's is refused; the others never change.
#define GRPO_PLUGIN_ABI 1u

// Bytes without a final NUL. What a side gets belongs to the other and lives until the call returns; texts of a
// grpo_reward_v1 live for ever.
typedef struct {
  const char* p;
  uint64_t n;
} grpo_str;

// Where the plug-in says what went wrong: at most `capacity` bytes at `p`, their number in `n`.
typedef struct {
  char* p;
  uint64_t capacity, n;
} grpo_buffer;

enum { GRPO_NUMBER = 0, GRPO_INTEGER = 1, GRPO_FLAG = 2, GRPO_TEXT = 3, GRPO_JSON = 4 };  // GRPO_JSON: columns only
typedef struct {
  double number;
  int64_t integer;  // also flags: 0 or 1
  grpo_str text;    // also JSON
} grpo_value_v1;

// A parameter that a run file may set under `params:`. The host checks type and range before `create`.
typedef struct {
  uint32_t struct_size, type;
  grpo_str name, doc;
  grpo_value_v1 default_value;
  uint32_t is_required;  // 1: there is no default
  double low, high;      // of numbers and integers, both allowed; infinities: no limit
} grpo_param_v1;

typedef struct {
  grpo_str role, content;
} grpo_message_v1;

enum { GRPO_HAS_FINAL_SEGMENT = 1, GRPO_HAS_FINAL_ANSWER = 2, GRPO_HAS_REFERENCE = 4, GRPO_IS_EVALUATION = 8 };
enum { GRPO_FINISH_STOP = 0, GRPO_FINISH_LENGTH = 1, GRPO_FINISH_CANCELLED = 2 };
typedef struct {
  uint32_t struct_size, flags, finish;
  int64_t step;
  grpo_str prompt, completion, think, final_segment, final_answer, reference;
  const grpo_message_v1* messages;
  uint64_t n_messages;
  const int32_t* token_ids;
  uint64_t n_token_ids;
  const void* handle;  // for the functions of grpo_host_v1
} grpo_answer_v1;

typedef struct {
  uint32_t abi, struct_size;
  // A column of the answer's row as `type`. 0: in *out; else out->text is a sentence that says why not.
  int32_t (*column)(const void* handle, grpo_str name, uint32_t type, grpo_value_v1* out);
  int32_t (*cancelled)(const void* handle);  // 1: nobody waits for this answer any more
} grpo_host_v1;

// `verdict` is a short stable code, `why` a sentence for people; both end with a NUL if they are shorter.
typedef struct {
  double score;  // NaN: this answer cannot be scored
  char verdict[32], why[224];
} grpo_verdict_v1;

enum { GRPO_COMPARES_ANSWERS = 1 };  // `score` gets all answers of a prompt; else one at a time

// A reward. Functions may be called from several threads at once, and never throw or unwind.
typedef struct {
  uint32_t abi, struct_size;  // first in every version
  grpo_str type, doc;
  uint64_t flags;
  const grpo_param_v1* const* params;
  uint64_t n_params;
  // `values`: one for each of `params`. 0: *self is the reward; else `error` says why not.
  int32_t (*create)(const grpo_host_v1* host, const grpo_value_v1* values, void** self, grpo_buffer* error);
  void (*destroy)(void* self);
  // What scores may be. 0: in *min and *max, else `error`.
  int32_t (*range)(const void* self, double* min, double* max, grpo_buffer* error);
  // Returns how many verdicts it wrote: n, or -1 and `error`.
  int64_t (*score)(const void* self, const grpo_answer_v1* const* answers, uint64_t n, grpo_verdict_v1* out,
                   grpo_buffer* error);
  // May be NULL. Asked about the first answer of a prompt. 1: yes, 0: absent for that whole group, -1: `error`.
  int32_t (*applies)(const void* self, const grpo_answer_v1* answer, grpo_buffer* error);
  // May be NULL. `row` has only its reference and columns. 0: fine, else `error` says why it could never be scored.
  int32_t (*check_row)(const void* self, const grpo_answer_v1* row, grpo_buffer* error);
} grpo_reward_v1;

// The one symbol of a plug-in: its rewards from index 0, NULL after the last.
__attribute__((visibility("default"))) const grpo_reward_v1* grpo_reward_plugin(uint32_t host_abi, uint32_t index);

#ifdef __cplusplus
}
#endif
