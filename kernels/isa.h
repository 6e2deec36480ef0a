// Why an instruction set of the kernels is not used.
#pragma once

#include <string>

#include "kernels/linear.h"

namespace grpo::kernels {

// What the code of `isa` needs and this CPU or system lacks, as /proc/cpuinfo names it, blank between; "": it runs.
std::string isa_lacks(Isa isa);

}  // namespace grpo::kernels
