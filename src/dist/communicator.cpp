#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "dist/group.h"
#include "dist/reduce.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kSmall = std::size_t{64} << 10;              // bytes that are sent whole to every rank
constexpr std::size_t kChunk = Communicator::Transport::kMaxPart;  // bytes of all ranks together that move at a time

// What one rank sends another at a time; cut at cache lines.
std::size_t part_bytes(int ranks) { return std::max(kChunk / static_cast<std::size_t>(ranks), kSmall) / 64 * 64; }

void check(bool good, const char* function, const std::string& what) {
  GRPO_CHECK(good, std::string("Communicator::") + function + ": " + what);
}

std::size_t total(std::span<const std::size_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t{0});
}

// FNV-1a of the numbers.
std::uint64_t checksum(std::span<const std::size_t> counts) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::size_t count : counts) hash = (hash ^ count) * 0x100000001b3;
  return hash;
}

void check_counts(const char* function, const char* which, std::span<const std::size_t> counts, int ranks,
                  std::size_t size) {
  check(counts.size() == static_cast<std::size_t>(ranks), function,
        std::string(which) + ": expected one for each of " + std::to_string(ranks) + " ranks, got " +
            std::to_string(counts.size()));
  check(total(counts) == size, function,
        std::string(which) + ": expected " + std::to_string(size) + " in all, got " + std::to_string(total(counts)));
}

void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes > 0 && to != from) std::memmove(to, from, bytes);
}

// counts[r] bytes from rank r come to offset of r in `all`; this rank's are at `piece`.
void gather_pieces(Group& group, const std::byte* piece, std::span<const std::size_t> counts, std::byte* all) {
  const std::size_t mine = counts[static_cast<std::size_t>(group.rank())];
  const std::size_t longest = *std::max_element(counts.begin(), counts.end());
  const std::size_t part = part_bytes(group.size());
  for (std::size_t begin = 0; begin < longest; begin += part) {
    std::size_t offset = 0;
    for (int r = 0; r < group.size(); ++r) {
      const std::size_t count = counts[static_cast<std::size_t>(r)];
      group.send(r, piece + begin, begin < mine ? std::min(part, mine - begin) : 0);
      group.receive(r, all + offset + begin, begin < count ? std::min(part, count - begin) : 0);
      offset += count;
    }
    group.move();
  }
}

// The same few bytes from each rank, in order of rank.
template <typename T>
std::vector<T> gather_small(Group& group, std::span<const T> mine) {
  const auto ranks = static_cast<std::size_t>(group.size());
  std::vector<T> all(mine.size() * ranks);
  std::copy(mine.begin(), mine.end(), all.begin() + group.rank() * static_cast<std::ptrdiff_t>(mine.size()));
  gather_pieces(group, std::as_bytes(mine).data(), std::vector(ranks, mine.size_bytes()),
                std::as_writable_bytes(std::span(all)).data());
  return all;
}

// Sums elements [begin, begin + lengths[r]) of piece r over ranks into `out`, for this rank's r. `starts`: where the
// pieces begin. Scratch holds the other ranks' parts.
template <typename T>
void reduce_pieces(Group& group, Reduce op, const T* values, std::span<const std::size_t> starts,
                   std::span<const std::size_t> lengths, T* scratch, T* out, std::vector<const T*>& parts) {
  const auto self = static_cast<std::size_t>(group.rank());
  for (int r = 0; r < group.size(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    T* from = scratch + at * lengths[self];
    group.send(r, reinterpret_cast<const std::byte*>(values + starts[at]), lengths[at] * sizeof(T));
    group.receive(r, reinterpret_cast<std::byte*>(from), lengths[self] * sizeof(T));
    parts[at] = at == self ? values + starts[self] : from;
  }
  group.move();
  reduce<T>(op, parts, lengths[self], out);
}

template <typename T>
void all_reduce_small(Group& group, std::span<T> values, Reduce op, T* scratch) {
  std::vector<const T*> parts(static_cast<std::size_t>(group.size()));
  for (int r = 0; r < group.size(); ++r) {
    T* from = scratch + static_cast<std::size_t>(r) * values.size();
    group.send(r, reinterpret_cast<const std::byte*>(values.data()), values.size_bytes());
    group.receive(r, reinterpret_cast<std::byte*>(from), values.size_bytes());
    parts[static_cast<std::size_t>(r)] = r == group.rank() ? values.data() : from;
  }
  group.move();
  reduce<T>(op, parts, values.size(), values.data());
}

// Each rank reduces one piece of a chunk; then all get all pieces.
template <typename T>
void all_reduce_large(Group& group, std::span<T> values, Reduce op, T* scratch) {
  const auto ranks = static_cast<std::size_t>(group.size());
  const std::size_t part = part_bytes(group.size()) / sizeof(T);
  std::vector<std::size_t> starts(ranks), lengths(ranks), bytes(ranks);
  std::vector<const T*> parts(ranks);
  for (std::size_t begin = 0; begin < values.size(); begin += part * ranks) {
    const std::span<T> chunk = values.subspan(begin, std::min(part * ranks, values.size() - begin));
    const std::size_t piece = (chunk.size() + ranks - 1) / ranks;
    for (std::size_t r = 0; r < ranks; ++r) {
      starts[r] = std::min(r * piece, chunk.size());
      lengths[r] = std::min(piece, chunk.size() - starts[r]);
      bytes[r] = lengths[r] * sizeof(T);
    }
    T* mine = chunk.data() + starts[static_cast<std::size_t>(group.rank())];
    reduce_pieces<T>(group, op, chunk.data(), starts, lengths, scratch, mine, parts);
    gather_pieces(group, reinterpret_cast<const std::byte*>(mine), bytes, reinterpret_cast<std::byte*>(chunk.data()));
  }
}

template <typename T>
void all_reduce(Group& group, std::span<T> values, Reduce op, Operation operation) {
  const bool small = values.size_bytes() <= kSmall;
  const std::size_t part = small ? values.size_bytes() : part_bytes(group.size());
  T* scratch =
      reinterpret_cast<T*>(group.scratch(group.size() == 1 ? 0 : part * static_cast<std::size_t>(group.size())));
  group.begin({operation, static_cast<std::uint32_t>(op), values.size_bytes()});
  if (group.size() > 1) (small ? all_reduce_small<T> : all_reduce_large<T>)(group, values, op, scratch);
  group.finish();
}

}  // namespace

Communicator Communicator::single() { return Communicator(single_transport()); }

Communicator::Communicator(std::unique_ptr<Transport> transport) {
  auto world = std::make_shared<World>(std::move(transport));
  std::vector<int> members(static_cast<std::size_t>(world->transport->size()));
  std::iota(members.begin(), members.end(), 0);
  const int channel = world->next_channel++;
  group_ = std::make_shared<Group>(std::move(world), std::move(members), channel);
}
Communicator::Communicator(std::shared_ptr<Group> group) : group_(std::move(group)) {}
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;
Communicator::~Communicator() = default;

Group& Communicator::group() const {
  GRPO_ASSERT(group_ != nullptr);
  return *group_;
}

int Communicator::rank() const { return group().rank(); }
int Communicator::size() const { return group().size(); }
int Communicator::local_size() const { return group().world().transport->local_size(); }

void Communicator::all_reduce(std::span<float> values, Reduce op) {
  grpo::all_reduce(group(), values, op, Operation::AllReduceFloat);
}

void Communicator::all_reduce(std::span<double> values, Reduce op) {
  grpo::all_reduce(group(), values, op, Operation::AllReduceDouble);
}

void Communicator::reduce_scatter(std::span<const float> values, std::span<const std::size_t> counts,
                                  std::span<float> piece) {
  Group& g = group();
  check_counts("reduce_scatter", "counts", counts, g.size(), values.size());
  const std::size_t mine = counts[static_cast<std::size_t>(g.rank())];
  check(piece.size() == mine, "reduce_scatter",
        "piece: expected " + std::to_string(mine) + " values, got " + std::to_string(piece.size()));
  const auto ranks = static_cast<std::size_t>(g.size());
  const std::size_t part = part_bytes(g.size()) / sizeof(float);
  float* scratch =
      reinterpret_cast<float*>(g.scratch(g.size() == 1 ? 0 : std::min(part, mine) * ranks * sizeof(float)));
  std::vector<std::size_t> starts(ranks), lengths(ranks);
  std::vector<const float*> parts(ranks);
  g.begin({Operation::ReduceScatter, 0, values.size_bytes(), checksum(counts)});
  const std::size_t longest = *std::max_element(counts.begin(), counts.end());
  for (std::size_t begin = 0; begin < longest; begin += part) {
    for (std::size_t r = 0, offset = 0; r < ranks; offset += counts[r++]) {
      starts[r] = offset + std::min(begin, counts[r]);
      lengths[r] = begin < counts[r] ? std::min(part, counts[r] - begin) : 0;
    }
    reduce_pieces<float>(g, Reduce::Sum, values.data(), starts, lengths, scratch, piece.data() + std::min(begin, mine),
                         parts);
  }
  g.finish();
}

void Communicator::all_gather(std::span<const std::byte> piece, std::span<const std::size_t> counts,
                              std::span<std::byte> all) {
  Group& g = group();
  check_counts("all_gather", "counts", counts, g.size(), all.size());
  const auto self = static_cast<std::size_t>(g.rank());
  check(piece.size() == counts[self], "all_gather",
        "piece: expected " + std::to_string(counts[self]) + " bytes, got " + std::to_string(piece.size()));
  g.begin({Operation::AllGather, 0, all.size(), checksum(counts)});
  std::byte* place = all.data() + total(counts.first(self));
  copy_bytes(place, piece.data(), piece.size());
  gather_pieces(g, place, counts, all.data());
  g.finish();
}

std::vector<std::string> Communicator::all_gather(std::string_view bytes) {
  Group& g = group();
  g.begin({Operation::AllGatherTexts, 0, bytes.size()});
  std::vector<std::size_t> counts(static_cast<std::size_t>(g.size()), bytes.size());
  for (int r = 0; r < g.size(); ++r)
    if (r != g.rank()) counts[static_cast<std::size_t>(r)] = g.bytes_of(r);
  std::vector<std::byte> all(total(counts));
  const auto* mine = reinterpret_cast<const std::byte*>(bytes.data());
  copy_bytes(all.data() + total(std::span(counts).first(static_cast<std::size_t>(g.rank()))), mine, bytes.size());
  gather_pieces(g, mine, counts, all.data());
  g.finish();
  std::vector<std::string> texts;
  std::size_t offset = 0;
  for (const std::size_t count : counts) {
    texts.emplace_back(reinterpret_cast<const char*>(all.data()) + offset, count);
    offset += count;
  }
  return texts;
}

void Communicator::all_to_all(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                              std::span<std::byte> receive, std::span<const std::size_t> receive_counts) {
  Group& g = group();
  check_counts("all_to_all", "send_counts", send_counts, g.size(), send.size());
  check_counts("all_to_all", "receive_counts", receive_counts, g.size(), receive.size());
  const auto ranks = static_cast<std::size_t>(g.size()), self = static_cast<std::size_t>(g.rank());
  g.begin({Operation::AllToAll, 0, send.size()});
  // Row r: what rank r sends to each, then what it expects of each. Every rank sees all, so every rank has the Error.
  std::vector<std::size_t> mine(send_counts.begin(), send_counts.end());
  mine.insert(mine.end(), receive_counts.begin(), receive_counts.end());
  const std::vector<std::size_t> table = gather_small<std::size_t>(g, mine);
  for (std::size_t from = 0; from < ranks; ++from) {
    for (std::size_t to = 0; to < ranks; ++to) {
      const std::size_t sent = table[from * 2 * ranks + to], expected = table[to * 2 * ranks + ranks + from];
      if (sent == expected) continue;
      g.lose(Error("Communicator::all_to_all: rank " + std::to_string(to) + ": receive_counts: expected " +
                   std::to_string(sent) + ", which rank " + std::to_string(from) + " sends, got " +
                   std::to_string(expected)));
    }
  }
  std::size_t longest = 0;  // of all ranks: everybody takes part in every move
  for (const std::size_t count : table) longest = std::max(longest, count);
  copy_bytes(receive.data() + total(receive_counts.first(self)), send.data() + total(send_counts.first(self)),
             send_counts[self]);
  const std::size_t part = part_bytes(g.size());
  for (std::size_t begin = 0; begin < longest; begin += part) {
    std::size_t from = 0, to = 0;
    for (std::size_t r = 0; r < ranks; from += send_counts[r], to += receive_counts[r], ++r) {
      const auto length = [&](std::size_t count) { return begin < count ? std::min(part, count - begin) : 0; };
      g.send(static_cast<int>(r), send.data() + from + begin, length(send_counts[r]));
      g.receive(static_cast<int>(r), receive.data() + to + begin, length(receive_counts[r]));
    }
    g.move();
  }
  g.finish();
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) {
  Group& g = group();
  check(root >= 0 && root < g.size(), "broadcast",
        "root: expected a rank in [0, " + std::to_string(g.size()) + "), got " + std::to_string(root));
  g.begin({Operation::Broadcast, static_cast<std::uint32_t>(root), bytes.size()});
  if (bytes.size() <= kSmall) {
    if (g.rank() == root) {
      for (int r = 0; r < g.size(); ++r) g.send(r, bytes.data(), bytes.size());
    } else {
      g.receive(root, bytes.data(), bytes.size());
    }
    g.move();
  } else if (g.size() > 1) {
    // The root sends each rank one piece, and ranks send their pieces to each other.
    const auto ranks = static_cast<std::size_t>(g.size());
    const std::size_t part = part_bytes(g.size());
    for (std::size_t begin = 0; begin < bytes.size(); begin += part * ranks) {
      const std::span<std::byte> chunk = bytes.subspan(begin, std::min(part * ranks, bytes.size() - begin));
      const std::size_t piece = (chunk.size() + ranks - 1) / ranks;
      std::vector<std::size_t> counts(ranks);
      std::size_t mine = 0;
      for (std::size_t r = 0, offset = 0; r < ranks; offset += counts[r++]) {
        counts[r] = std::min(piece, chunk.size() - offset);
        const bool own = static_cast<int>(r) == g.rank();
        if (own) mine = offset;
        if (g.rank() == root) g.send(static_cast<int>(r), chunk.data() + offset, counts[r]);
        if (own) g.receive(root, chunk.data() + offset, counts[r]);
      }
      g.move();
      gather_pieces(g, chunk.data() + mine, counts, chunk.data());
    }
  }
  g.finish();
}

void Communicator::barrier() {
  group().begin({Operation::Barrier});
  group().finish();
}

Communicator Communicator::split(int color, int key) {
  Group& g = group();
  World& world = g.world();
  g.begin({Operation::Split});
  const int mine[] = {color, key, world.next_channel};
  const std::vector<int> all = gather_small<int>(g, mine);
  g.finish();
  std::vector<std::pair<int, int>> order;  // key, rank here
  for (int r = 0; r < g.size(); ++r) {
    const int* of = all.data() + 3 * r;
    if (of[0] == color) order.emplace_back(of[1], r);
    world.next_channel = std::max(world.next_channel, of[2]);
  }
  std::sort(order.begin(), order.end());
  std::vector<int> members;
  members.reserve(order.size());
  for (const auto& [by, r] : order) members.push_back(g.members()[static_cast<std::size_t>(r)]);
  const int channel = world.next_channel++;
  return Communicator(std::make_shared<Group>(g.shared_world(), std::move(members), channel));
}

void Communicator::set_place(const std::string& place) { group().world().status.set_place(place); }

void Communicator::set_deadline(double seconds) {
  check(seconds >= 0, "set_deadline", "seconds: expected 0 (none) or more, got " + std::to_string(seconds));
  group().world().deadline = seconds;
}

void Communicator::fail(const Error& error) noexcept {
  if (group_ != nullptr) group_->world().fail(error);
}

}  // namespace grpo::inline GRPO_ABI
