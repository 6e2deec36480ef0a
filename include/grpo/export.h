// What the library lets out, and under which name.
#pragma once

// Marks what the shared library exports; everything else is hidden.
#define GRPO_API __attribute__((visibility("default")))

// The inline namespace of everything in grpo: its version and LibTorch's, such as v0_1_torch2_11. Programs say
// grpo::Trainer; one that was compiled against another version does not link, instead of misreading memory.
#ifndef GRPO_ABI
#error "GRPO_ABI: compile with the flags of the CMake target grpo::grpo, or of `pkg-config --cflags grpo`"
#endif
