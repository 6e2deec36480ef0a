#include "text/tokenizer_added.h"

#include <algorithm>

#include "text/pretokenize_unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

// The code point that ends `text`, which is not empty.
std::uint32_t back_code(std::string_view text, std::size_t& length) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return front_code(text.substr(begin), length);
}

bool ends_with_word(std::string_view text) {
  std::size_t length = 0;
  return !text.empty() && is_word(back_code(text, length));
}

bool starts_with_word(std::string_view text) {
  std::size_t length = 0;
  return !text.empty() && is_word(front_code(text, length));
}

std::size_t trailing_space(std::string_view text) {
  const std::size_t size = text.size();
  std::size_t length = 0;
  while (!text.empty() && is_white_space(back_code(text, length))) text.remove_suffix(length);
  return size - text.size();
}

std::size_t leading_space(std::string_view text) {
  const std::size_t size = text.size();
  std::size_t length = 0;
  while (!text.empty() && is_white_space(front_code(text, length))) text.remove_prefix(length);
  return size - text.size();
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(),
                            [](const AddedToken& a, const AddedToken& b) { return a.content == b.content; }),
                tokens_.end());
  for (const AddedToken& token : tokens_) {
    if (!token.content.empty()) starts_[static_cast<unsigned char>(token.content[0])] = true;
  }
}

// Narrows the sorted tokens byte by byte.
const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  const AddedToken* best = nullptr;
  auto first = tokens_.begin();
  auto last = tokens_.end();
  for (std::size_t depth = 0; depth < text.size(); ++depth) {
    const auto byte = static_cast<unsigned char>(text[depth]);
    auto at = [depth](const AddedToken& t) {
      return depth < t.content.size() ? static_cast<int>(static_cast<unsigned char>(t.content[depth])) : -1;
    };
    first = std::partition_point(first, last, [&](const AddedToken& t) { return at(t) < byte; });
    last = std::partition_point(first, last, [&](const AddedToken& t) { return at(t) <= byte; });
    if (first == last) break;
    if (first->content.size() == depth + 1) best = &*first;
  }
  return best;
}

void AddedTokens::split(std::string_view text, bool parse_special, std::vector<Piece>& pieces) const {
  std::size_t done = 0;         // everything before it is in `pieces`
  std::size_t white_until = 0;  // where the white space that some token's rstrip took ends
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = starts_[static_cast<unsigned char>(text[at])] ? longest_at(text.substr(at)) : nullptr;
    if (!token) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->content.size();
    at = end;  // a match that does not count is not searched again
    if (token->special && !parse_special) continue;
    if (token->single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token->lstrip) begin = done < begin ? begin - trailing_space(text.substr(done, begin - done)) : done;
    if (token->rstrip) {
      if (end > white_until) white_until = end + leading_space(text.substr(end));
      end = white_until;
    }
    if (done < begin) pieces.push_back({text.substr(done, begin - done), -1});
    // One whose neighbour's strip has taken it is gone.
    if (begin < end) pieces.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), -1});
}

}  // namespace grpo::inline GRPO_ABI
