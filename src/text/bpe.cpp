#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "base/utf8.h"
#include "text/pretokenize_unicode.h"

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {
namespace {

// Printable Latin-1 stands for itself; the other bytes, in order, are U+0100 and up.
struct ByteAlphabet {
  std::array<std::uint16_t, 256> code{};
  std::array<std::int16_t, 0x180> byte{};

  ByteAlphabet() {
    byte.fill(-1);
    std::uint16_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      code[b] = printable ? static_cast<std::uint16_t>(b) : next++;
      byte[code[b]] = static_cast<std::int16_t>(b);
    }
  }
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

struct Symbol {
  std::int32_t id;
  std::int32_t previous, next;  // < 0: none
  bool alive;
};

struct Candidate {
  std::uint32_t rank;
  std::int32_t left;  // index of the left symbol
  std::int32_t result;
  bool operator<(const Candidate& other) const {  // the heap's top is the lowest rank, then the leftmost
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, alphabet().code[static_cast<unsigned char>(c)]);
  return out;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string out;
  std::size_t length = 0;
  for (std::size_t i = 0; i < text.size(); i += length) {
    const std::uint32_t code = front_code(text.substr(i), length);
    if (code >= alphabet().byte.size() || alphabet().byte[code] < 0) return std::nullopt;
    out += static_cast<char>(alphabet().byte[code]);
  }
  return out;
}

// (left, right) -> (rank, result): open addressing, at most half full.
class Bpe::PairTable {
 public:
  struct Entry {
    std::uint32_t rank;
    std::int32_t result;
  };

  explicit PairTable(const std::vector<Merge>& merges)
      : mask_(std::bit_ceil(merges.size() * 2 + 2) - 1), slots_(mask_ + 1) {
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
      Slot& slot = slot_of(key_of(merges[rank].left, merges[rank].right));
      slot = {key_of(merges[rank].left, merges[rank].right), {static_cast<std::uint32_t>(rank), merges[rank].result}};
    }
  }

  const Entry* find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t i = mix(key) & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return &slots_[i].entry;
      if (slots_[i].key == kEmpty) return nullptr;
    }
  }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};  // no pair of ids: they are not negative
  struct Slot {
    std::uint64_t key = kEmpty;
    Entry entry{};
  };
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }
  Slot& slot_of(std::uint64_t key) {
    std::size_t i = mix(key) & mask_;
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & mask_;
    return slots_[i];
  }

  std::size_t mask_;
  std::vector<Slot> slots_;
};

// Tokens of short words. Sharded, so that threads seldom wait; a full shard takes no more.
class Bpe::Cache {
 public:
  static constexpr std::size_t kMaxWordBytes = 48;

  bool find(std::string_view word, std::vector<std::int32_t>& ids) {
    Shard& shard = shard_of(word);
    const std::lock_guard lock(shard.mutex);
    const auto it = shard.words.find(word);
    if (it == shard.words.end()) return false;
    ids.insert(ids.end(), it->second.begin(), it->second.end());
    return true;
  }

  void insert(std::string_view word, std::vector<std::int32_t> ids) {
    Shard& shard = shard_of(word);
    const std::lock_guard lock(shard.mutex);
    if (shard.words.size() < kMaxWords) shard.words.emplace(word, std::move(ids));
  }

 private:
  static constexpr std::size_t kShards = 16;
  static constexpr std::size_t kMaxWords = 4096;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<std::int32_t>, Hash, std::equal_to<>> words;
  };
  Shard& shard_of(std::string_view word) { return shards_[(Hash{}(word) >> 8) % kShards]; }

  std::array<Shard, kShards> shards_;
};

Bpe::Bpe(Options options)
    : byte_ids_(options.byte_ids),
      whole_words_(std::move(options.whole_words)),
      unk_id_(options.unk_id),
      fuse_unk_(options.fuse_unk),
      pairs_(std::make_unique<PairTable>(options.merges)),
      cache_(std::make_unique<Cache>()) {}

Bpe::Bpe(Bpe&&) noexcept = default;
Bpe& Bpe::operator=(Bpe&&) noexcept = default;
Bpe::~Bpe() = default;

void Bpe::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (word.size() > Cache::kMaxWordBytes) return merge(word, ids);
  if (cache_->find(word, ids)) return;
  std::vector<std::int32_t> made;
  merge(word, made);
  ids.insert(ids.end(), made.begin(), made.end());
  cache_->insert(word, std::move(made));
}

void Bpe::merge(std::string_view word, std::vector<std::int32_t>& ids) const {
  GRPO_CHECK(word.size() < static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()),
             "encode: a word of " + std::to_string(word.size()) + " bytes is too long");
  if (!whole_words_.empty()) {
    const auto whole = whole_words_.find(std::string(word));
    if (whole != whole_words_.end()) return ids.push_back(whole->second);
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  bool in_unk = false;
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    const bool known = byte_ids_[byte] >= 0;
    if (!known && (unk_id_ < 0 || (in_unk && fuse_unk_))) continue;
    in_unk = !known;
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({known ? byte_ids_[byte] : unk_id_, index - 1, index + 1, true});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  std::vector<Candidate> heap;
  auto candidate = [&](std::int32_t left) {
    const auto* pair = pairs_->find(symbols[left].id, symbols[symbols[left].next].id);
    if (pair) heap.push_back({pair->rank, left, pair->result});
    return pair != nullptr;
  };
  for (std::int32_t i = 0; symbols[i].next >= 0; ++i) candidate(i);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[top.left];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    const auto* pair = pairs_->find(left.id, right.id);
    if (!pair || pair->result != top.result) continue;  // the neighbours have changed since
    left.id = top.result;
    right.alive = false;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.left;
    if (left.previous >= 0 && candidate(left.previous)) std::push_heap(heap.begin(), heap.end());
    if (left.next >= 0 && candidate(top.left)) std::push_heap(heap.begin(), heap.end());
  }
  for (std::int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace grpo::inline GRPO_ABI
