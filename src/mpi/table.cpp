// libgrpo_mpi.so: the only code that sees MPI.
#include <mpi.h>

#include <new>
#include <string>
#include <vector>

#include "dist/mpi_table.h"

struct GrpoMpiChannel {
  int tag;
  std::vector<MPI_Request> requests;
};

namespace {

std::string last_error;
MPI_Comm ranks = MPI_COMM_NULL;  // our own, so that a program's messages do not meet ours
bool owned = false;

int failed(const char* function, int code) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  last_error = std::string(function) + ": " + text;
  return 1;
}

#define RETURN_IF_FAILED(call) \
  if (const int code = (call); code != MPI_SUCCESS) return failed(#call, code)

const char* library_version() {
  static const std::string version = [] {
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(text, &length);
    return std::string(text);
  }();
  return version.c_str();
}

const char* error() { return last_error.c_str(); }

int start_process() {
  int finalized = 0, initialized = 0, threads = 0;
  RETURN_IF_FAILED(MPI_Finalized(&finalized));
  if (finalized) {
    last_error = "MPI has ended in this process and cannot start again";
    return 1;
  }
  RETURN_IF_FAILED(MPI_Initialized(&initialized));
  if (initialized) return 0;  // the program's own, which it also ends
  RETURN_IF_FAILED(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &threads));
  owned = true;
  if (threads >= MPI_THREAD_FUNNELED) return 0;
  last_error = "MPI allows no threads besides the one that calls it";
  return 1;
}

int start(GrpoMpiRanks* of) {
  if (start_process() != 0) return 1;
  if (ranks == MPI_COMM_NULL) {
    RETURN_IF_FAILED(MPI_Comm_dup(MPI_COMM_WORLD, &ranks));
    RETURN_IF_FAILED(MPI_Comm_set_errhandler(ranks, MPI_ERRORS_RETURN));
  }
  RETURN_IF_FAILED(MPI_Comm_rank(ranks, &of->rank));
  RETURN_IF_FAILED(MPI_Comm_size(ranks, &of->size));
  of->owned = owned;
  MPI_Comm machine = MPI_COMM_NULL;
  RETURN_IF_FAILED(MPI_Comm_split_type(ranks, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine));
  RETURN_IF_FAILED(MPI_Comm_size(machine, &of->local_size));
  RETURN_IF_FAILED(MPI_Comm_free(&machine));
  int* max_tag = nullptr;
  int found = 0;
  RETURN_IF_FAILED(MPI_Comm_get_attr(ranks, MPI_TAG_UB, &max_tag, &found));
  of->max_tag = found ? *max_tag : 32767;  // what every MPI has
  return 0;
}

GrpoMpiChannel* open(int tag) { return new (std::nothrow) GrpoMpiChannel{tag, {}}; }
void close(GrpoMpiChannel* channel) { delete channel; }

int begin(GrpoMpiChannel* channel, const GrpoMpiPart* sends, int num_sends, const GrpoMpiPart* receives,
          int num_receives) {
  channel->requests.clear();
  for (int i = 0; i < num_receives; ++i) {
    const GrpoMpiPart& part = receives[i];
    MPI_Request& request = channel->requests.emplace_back(MPI_REQUEST_NULL);
    RETURN_IF_FAILED(MPI_Irecv(part.data, part.bytes, MPI_BYTE, part.peer, channel->tag, ranks, &request));
  }
  for (int i = 0; i < num_sends; ++i) {
    const GrpoMpiPart& part = sends[i];
    MPI_Request& request = channel->requests.emplace_back(MPI_REQUEST_NULL);
    RETURN_IF_FAILED(MPI_Isend(part.data, part.bytes, MPI_BYTE, part.peer, channel->tag, ranks, &request));
  }
  return 0;
}

int test(GrpoMpiChannel* channel, int* done) {
  RETURN_IF_FAILED(
      MPI_Testall(static_cast<int>(channel->requests.size()), channel->requests.data(), done, MPI_STATUSES_IGNORE));
  return 0;
}

int finish() {
  if (!owned) return 0;
  RETURN_IF_FAILED(MPI_Comm_free(&ranks));
  RETURN_IF_FAILED(MPI_Finalize());
  return 0;
}

void abort(int exit_code) { MPI_Abort(MPI_COMM_WORLD, exit_code); }

constexpr GrpoMpiTable kTable = {
    GRPO_MPI_TABLE_VERSION, library_version, error, start, open, close, begin, test, finish, abort};

}  // namespace

extern "C" __attribute__((visibility("default"))) const GrpoMpiTable* grpo_mpi_table() { return &kTable; }
