// Ranks over MPI, which is opened at run time (libgrpo_mpi.so).
#pragma once

#include <memory>
#include <string>

#include "dist/transport.h"

namespace grpo::inline GRPO_ABI {

// Starts MPI, or joins the program's own. Error, with what to install, where libgrpo_mpi.so cannot be opened.
std::unique_ptr<Communicator::Transport> mpi_transport();
// Whether mpi_transport() started MPI, and mpi_finish() is to be called after every rank has come to its end.
bool mpi_owned();
void mpi_finish();
// The library and the MPI behind it. Starts nothing; throws as mpi_transport().
std::string mpi_version();

}  // namespace grpo::inline GRPO_ABI
