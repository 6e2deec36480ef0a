// grpo-reward-worker: runs the plug-in of one reward for a process that does not trust it.
#include "reward/worker.h"

int main() { return grpo::serve_reward(); }
