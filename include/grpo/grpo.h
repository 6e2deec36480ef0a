// Everything a program that links the library needs.
#pragma once

#include <grpo/algo.h>
#include <grpo/config.h>
#include <grpo/dist.h>
#include <grpo/error.h>
#include <grpo/json.h>
#include <grpo/metrics.h>
#include <grpo/model.h>
#include <grpo/ops.h>
#include <grpo/pipeline.h>
#include <grpo/reward.h>
#include <grpo/rollout.h>
#include <grpo/text.h>
#include <grpo/train.h>
