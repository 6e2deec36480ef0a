#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <unordered_map>

#include <grpo/json.h>

#include "base/files.h"
#include "base/scalar.h"
#include "base/utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxText = std::size_t{16} << 20;      // bytes of a YAML text
constexpr std::size_t kMaxExpanded = std::size_t{16} << 20;  // bytes that aliases may add
constexpr std::size_t kNodeCost = 64;                        // bytes a node counts for, beside its text
constexpr int kMaxDepth = 100;

// Builds the tree from yaml-cpp's events, which unlike its nodes keep keys apart and leave aliases to us.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& source) {
    if (!source.empty()) file_ = std::make_shared<const std::string>(source);
  }

  Json take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add({located(Json(), mark), anchor}); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    for (const Open& open : open_) {
      if (open.built.anchor == anchor) fail(mark, "alias inside the node that it names");
    }
    if (anchor >= anchors_.size()) fail(mark, "alias without an anchor");
    Built copy = anchors_[anchor];
    copy.anchor = YAML::NullAnchor;
    expanded_ += copy.cost;
    if (expanded_ > kMaxExpanded) fail(mark, "aliases that expand without bound");
    if (static_cast<int>(open_.size()) + copy.depth > kMaxDepth) too_deep(mark);
    add(std::move(copy));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    Json value = text;
    if (tag == "?" || tag.empty()) {
      try {
        value = plain_scalar(text);
      } catch (const Error& error) {
        fail(mark, error.what());
      }
    } else if (tag != "!" && tag != "tag:yaml.org,2002:str") {
      fail(mark, "tag " + tag + " is not supported");
    }
    add({located(std::move(value), mark), anchor, kNodeCost + text.size()});
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Json::List{}, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Json::Object{}, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw Error(located(Json(), mark).where() + ": " + message);
  }

 private:
  struct Built {
    Json value;
    YAML::anchor_t anchor = YAML::NullAnchor;
    std::size_t cost = kNodeCost;
    int depth = 1;
  };
  struct Open {
    Built built;
    std::optional<std::string> key;             // of a map, once read
    std::unordered_map<std::string, int> seen;  // keys of a map with their lines
  };

  Json located(Json value, const YAML::Mark& mark) const {
    value.set_location(file_, mark.line + 1, mark.column + 1);
    return value;
  }

  [[noreturn]] void too_deep(const YAML::Mark& mark) const {
    fail(mark, "nested more than " + std::to_string(kMaxDepth) + " levels deep");
  }

  void open(Json value, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (!tag.empty() && tag != "?" && tag != "!") fail(mark, "tag " + tag + " is not supported");
    if (static_cast<int>(open_.size()) >= kMaxDepth) too_deep(mark);
    open_.push_back({{located(std::move(value), mark), anchor}, {}, {}});
  }

  void close() {
    Built built = std::move(open_.back().built);
    open_.pop_back();
    add(std::move(built));
  }

  void add(Built built) {
    if (built.anchor != YAML::NullAnchor) {
      if (anchors_.size() <= built.anchor) anchors_.resize(built.anchor + 1);
      anchors_[built.anchor] = built;
    }
    if (open_.empty()) {
      root_ = std::move(built.value);
      return;
    }
    Open& parent = open_.back();
    parent.built.cost += built.cost;
    parent.built.depth = std::max(parent.built.depth, built.depth + 1);
    if (parent.built.value.is_list()) {
      parent.built.value.push_back(std::move(built.value));
    } else if (!parent.key) {
      take_key(parent, built.value);
    } else {
      parent.built.value.as_object().emplace_back(std::move(*parent.key), std::move(built.value));
      parent.key.reset();
    }
  }

  void take_key(Open& parent, const Json& key) {
    const std::string where = key.where();
    if (!key.is_string()) throw Error(where + ": expected a key that is text, got " + key.dump() + " (quote it)");
    if (key.as_string() == "<<") throw Error(where + ": merge keys (<<) are not supported");
    parent.key = key.as_string();
    const auto [first, fresh] = parent.seen.emplace(*parent.key, key.line());
    if (!fresh) {
      throw Error(where + ": key \"" + *parent.key + "\" occurs twice, first in line " + std::to_string(first->second));
    }
  }

  std::shared_ptr<const std::string> file_;
  std::vector<Open> open_;
  std::vector<Built> anchors_;  // by yaml-cpp's anchor number
  std::size_t expanded_ = 0;
  Json root_;
};

// What yaml-cpp would take silently or read as another encoding.
void check_text(std::string_view text, const std::string& source) {
  int line = 1;
  std::size_t line_start = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool control = (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7F;
    if (length == 0 || control) {
      const std::string column = std::to_string(i - line_start + 1);
      throw Error((source.empty() ? "YAML line " : source + ":") + std::to_string(line) + ":" + column +
                  (control ? ": control character in the text" : ": invalid UTF-8"));
    }
    if (byte == '\n') {
      ++line;
      line_start = i + 1;
    }
    i += length;
  }
}

}  // namespace

Json parse_yaml(std::string_view text, const std::string& source) {
  const std::string name = source.empty() ? "YAML" : source;
  GRPO_CHECK(text.size() <= kMaxText,
             name + ": expected at most 16 MiB of YAML, got " + std::to_string(text.size()) + " bytes");
  check_text(text, source);
  // yaml-cpp takes a quoted scalar that the end of the text cuts behind a newline; a document end mark it refuses
  // there.
  const bool ends_line = !text.empty() && text.back() == '\n';
  std::istringstream stream(std::string(text) + (ends_line ? "...\n" : ""));
  TreeBuilder builder(source);
  try {
    YAML::Parser parser(stream);
    Json tree;
    if (parser.HandleNextDocument(builder)) tree = builder.take();
    TreeBuilder rest(source);
    if (parser.HandleNextDocument(rest)) throw Error(name + ": expected one YAML document, got several");
    return tree;
  } catch (const YAML::Exception& error) {
    builder.fail(error.mark, error.msg);
  }
}

Json load_tree(const std::string& path) {
  const std::string text = read_file(path);
  const std::string_view extension = std::string_view(path).substr(path.size() - std::min<std::size_t>(path.size(), 5));
  if (extension == ".json") return parse_json(text, {.source = path, .allow_comments = true});
  return parse_yaml(text, path);
}

}  // namespace grpo::inline GRPO_ABI
