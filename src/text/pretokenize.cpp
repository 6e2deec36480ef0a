#include "text/pretokenize.h"

#include "text/pretokenize_unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A stretch of a piece, and whether the pattern matched it.
struct Stretch {
  Span span;
  bool is_match = false;
};

// Fills the gaps between the matches.
std::vector<Stretch> with_gaps(const std::vector<Span>& matches, std::size_t size, bool invert) {
  std::vector<Stretch> out;
  std::size_t at = 0;
  for (const Span& match : matches) {
    if (at != match.begin) out.push_back({{at, match.begin}, invert});
    out.push_back({match, !invert});
    at = match.end;
  }
  if (at != size) out.push_back({{at, size}, invert});
  return out;
}

void find_literal(std::string_view text, std::string_view literal, std::vector<Span>& matches) {
  if (literal.empty()) return;
  for (std::size_t at = text.find(literal); at != std::string_view::npos; at = text.find(literal, at)) {
    matches.push_back({at, at + literal.size()});
    at += literal.size();
  }
}

void find_digits(std::string_view text, std::vector<Span>& matches) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < text.size(); i += length) {
    if (is_numeric(front_code(text.substr(i), length))) matches.push_back({i, i + length});
  }
}

// Appends the pieces that `behavior` makes of the stretches, moved by `offset`; empty ones are dropped.
void apply(SplitBehavior behavior, const std::vector<Stretch>& stretches, std::size_t offset,
           std::vector<Span>& pieces) {
  std::vector<Span> out;
  auto extend_or_push = [&](bool extend, const Span& span) {
    if (extend && !out.empty()) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
  };
  bool previous = false;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    const auto& [span, is_match] = stretches[i];
    switch (behavior) {
      case SplitBehavior::Removed:
        if (!is_match) out.push_back(span);
        break;
      case SplitBehavior::Isolated:
        out.push_back(span);
        break;
      case SplitBehavior::MergedWithPrevious:
        extend_or_push(is_match && !previous, span);
        break;
      case SplitBehavior::MergedWithNext: {
        // A match joins what follows it, unless another match follows.
        const bool joins = i > 0 && stretches[i - 1].is_match && !is_match;
        extend_or_push(joins, span);
        break;
      }
      case SplitBehavior::Contiguous:
        extend_or_push(i > 0 && is_match == previous, span);
        break;
    }
    previous = is_match;
  }
  for (const Span& span : out) {
    if (span.begin != span.end) pieces.push_back({span.begin + offset, span.end + offset});
  }
}

// The pieces of one text while the steps run. `seen` is the text as PCRE2 may see it, byte for byte as long.
struct Pieces {
  std::string_view text;
  std::string_view seen;
  std::vector<Span> spans;
  Regex::Scratch scratch;

  std::string_view of(std::string_view whole, const Span& span) const {
    return whole.substr(span.begin, span.end - span.begin);
  }

  template <class Find>
  void split(SplitBehavior behavior, bool invert, const Find& find) {
    std::vector<Span> next;
    std::vector<Span> matches;
    for (const Span& span : spans) {
      matches.clear();
      find(span, matches);
      apply(behavior, with_gaps(matches, span.end - span.begin, invert), span.begin, next);
    }
    spans = std::move(next);
  }

  void run(const Pretokenizer::Split& step) {
    split(step.behavior, step.invert, [&](const Span& span, std::vector<Span>& matches) {
      if (const auto* regex = std::get_if<Regex>(&step.pattern)) {
        regex->find_all(of(seen, span), scratch, matches);
      } else {
        find_literal(of(text, span), std::get<std::string>(step.pattern), matches);
      }
    });
  }
  void run(const Pretokenizer::Digits& step) {
    split(step.individual ? SplitBehavior::Isolated : SplitBehavior::Contiguous, false,
          [&](const Span& span, std::vector<Span>& matches) { find_digits(of(text, span), matches); });
  }
};

}  // namespace

void Pretokenizer::set(const ByteLevel& last) {
  add_prefix_space_ = last.add_prefix_space;
  gpt2_.reset();
  if (last.use_regex) gpt2_.emplace(kGpt2, "ByteLevel");
}

void Pretokenizer::words(std::string_view text, const std::function<void(const Word&)>& word) const {
  const std::optional<std::string> older = with_older_characters(text);
  Pieces pieces{text, older ? std::string_view(*older) : text, {}, {}};
  if (!text.empty()) pieces.spans.push_back({0, text.size()});
  for (const auto& step : steps_) {
    std::visit([&](const auto& s) { pieces.run(s); }, step);
  }
  std::string spaced;
  std::string spaced_seen;
  std::vector<Span> matches;
  for (const Span& span : pieces.spans) {
    std::string_view piece = pieces.of(pieces.text, span);
    std::string_view seen = pieces.of(pieces.seen, span);
    const std::size_t prefix = add_prefix_space_ && piece[0] != ' ' ? 1 : 0;
    if (prefix > 0) {
      spaced.assign(1, ' ').append(piece);
      spaced_seen.assign(1, ' ').append(seen);
      piece = spaced;
      seen = spaced_seen;
    }
    if (!gpt2_) {
      word({piece, span.begin, prefix});
      continue;
    }
    matches.clear();
    gpt2_->find_all(seen, pieces.scratch, matches);
    for (const auto& [stretch, is_match] : with_gaps(matches, piece.size(), false)) {
      if (stretch.begin == stretch.end) continue;
      const std::size_t added = stretch.begin == 0 ? prefix : 0;
      word({piece.substr(stretch.begin, stretch.end - stretch.begin), span.begin + stretch.begin + added - prefix,
            added});
    }
  }
}

}  // namespace grpo::inline GRPO_ABI
