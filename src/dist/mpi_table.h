// What libgrpo_mpi.so gives: MPI behind one table of C functions, so that nothing else depends on MPI.
#pragma once

#include <cstdint>

#define GRPO_MPI_TABLE_FUNCTION "grpo_mpi_table"  // const GrpoMpiTable* grpo_mpi_table()
#define GRPO_MPI_TABLE_VERSION 1u

extern "C" {

struct GrpoMpiRanks {
  int rank, size, local_size;
  int max_tag;
  int owned;  // MPI was started here, and not by the program before
};

struct GrpoMpiPart {
  int peer;
  int bytes;
  void* data;
};

// The messages under one tag; one `begin` at a time.
struct GrpoMpiChannel;

struct GrpoMpiTable {
  std::uint32_t version;
  // Of the MPI library, also before start().
  const char* (*library_version)();
  // Functions with an int return 0, or else error() says why not.
  const char* (*error)();
  int (*start)(GrpoMpiRanks* ranks);
  GrpoMpiChannel* (*open)(int tag);
  void (*close)(GrpoMpiChannel* channel);
  int (*begin)(GrpoMpiChannel* channel, const GrpoMpiPart* sends, int num_sends, const GrpoMpiPart* receives,
               int num_receives);
  int (*test)(GrpoMpiChannel* channel, int* done);
  int (*finish)();
  void (*abort)(int exit_code);
};
}
