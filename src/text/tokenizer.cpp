#include <algorithm>
#include <filesystem>

#include "base/files.h"
#include "base/utf8.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_utf8.h"

namespace grpo::inline GRPO_ABI {

namespace fs = std::filesystem;

struct Tokenizer::Impl {
  std::string source;
  TokenizerModel model;
  TokenizerConfig config;
  std::optional<std::int32_t> bos_id;
  std::optional<std::int32_t> eos_id;
  std::vector<File> files;

  // The id of config.tokens[name], which must be a token.
  std::optional<std::int32_t> named_id(const char* name) const {
    const Json* token = config.tokens.find(name);
    if (!token) return std::nullopt;
    const std::int32_t id = model.vocabulary.find(token->as_string());
    GRPO_CHECK(id >= 0, source + ": " + name + ": " + shown(token->as_string()) + " is not in the vocabulary");
    return id;
  }
  void name_ids() {
    bos_id = named_id("bos_token");
    eos_id = named_id("eos_token");
  }
};

namespace {

// Files of a model folder that belong to its tokenizer.
constexpr const char* kFileNames[] = {"tokenizer.json",      "tokenizer_config.json", "special_tokens_map.json",
                                      "chat_template.jinja", "added_tokens.json",     "vocab.json",
                                      "merges.txt"};

bool is_gguf(const std::string& path) {
  const InputFile file(path);
  if (file.size() < 4) return false;
  char magic[4];
  file.read(0, std::as_writable_bytes(std::span(magic)));
  return std::string_view(magic, 4) == "GGUF";
}

const std::string* find_file(const std::vector<Tokenizer::File>& files, std::string_view name) {
  for (const Tokenizer::File& file : files) {
    if (file.name == name) return &file.bytes;
  }
  return nullptr;
}

// special_tokens_map.json fills what tokenizer_config.json leaves open; a chat_template.jinja wins over it.
TokenizerConfig read_config_files(const std::vector<Tokenizer::File>& files, const fs::path& folder) {
  TokenizerConfig config;
  auto path_of = [&](const char* name) { return (folder / name).string(); };
  if (const std::string* text = find_file(files, "tokenizer_config.json")) {
    config = read_tokenizer_config(*text, path_of("tokenizer_config.json"));
  }
  if (const std::string* text = find_file(files, "special_tokens_map.json")) {
    const TokenizerConfig more = read_tokenizer_config(*text, path_of("special_tokens_map.json"));
    for (const auto& [name, token] : more.tokens.as_object()) {
      if (!config.tokens.find(name)) config.tokens[name] = token;
    }
  }
  if (const std::string* text = find_file(files, "chat_template.jinja")) config.chat_template = *text;
  return config;
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& path) {
  std::error_code error;  // what cannot be looked at is named when it is opened
  const bool is_folder = fs::is_directory(path, error);
  const fs::path file = is_folder ? fs::path(path) / "tokenizer.json" : fs::path(path);
  GRPO_CHECK(!is_folder || fs::exists(file, error), "Tokenizer::load: " + path + " has no tokenizer.json");
  auto impl = std::make_unique<Impl>();
  impl->source = file.string();
  if (is_gguf(file.string())) {
    GgufTokenizer made = tokenizer_from_gguf(GgufFile::read(InputFile(impl->source)));
    impl->model = read_tokenizer_json(made.tokenizer_json, impl->source);
    impl->config = read_tokenizer_config(made.tokenizer_config_json, impl->source);
    impl->files = {{"tokenizer.json", std::move(made.tokenizer_json)},
                   {"tokenizer_config.json", std::move(made.tokenizer_config_json)}};
  } else {
    const fs::path folder = file.parent_path();
    impl->files.push_back({"tokenizer.json", read_file(file.string())});
    if (file.filename() == "tokenizer.json") {  // its neighbours belong to it
      for (const char* name : kFileNames) {
        if (name != std::string_view("tokenizer.json") && fs::exists(folder / name, error)) {
          impl->files.push_back({name, read_file((folder / name).string())});
        }
      }
    }
    impl->model = read_tokenizer_json(impl->files[0].bytes, impl->source);
    impl->config = read_config_files(impl->files, folder);
  }
  impl->name_ids();
  return Tokenizer(std::unique_ptr<const Impl>(std::move(impl)));
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view config_json,
                               const std::string& source) {
  auto impl = std::make_unique<Impl>();
  impl->source = source;
  impl->model = read_tokenizer_json(tokenizer_json, source);
  impl->files.push_back({"tokenizer.json", std::string(tokenizer_json)});
  if (!config_json.empty()) {
    impl->config = read_tokenizer_config(config_json, "tokenizer_config.json");
    impl->files.push_back({"tokenizer_config.json", std::string(config_json)});
  }
  impl->name_ids();
  return Tokenizer(std::unique_ptr<const Impl>(std::move(impl)));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (find_invalid_utf8(text) == text.size()) return impl_->model.encode(text, options);
  return impl_->model.encode(replace_invalid_utf8(text), options);
}

Tokenizer::Encoding Tokenizer::encode_with_ranges(std::string_view text, const EncodeOptions& options) const {
  GRPO_CHECK(find_invalid_utf8(text) == text.size(), "Tokenizer::encode_with_ranges: the text is not valid UTF-8");
  Encoding encoding;
  encoding.ids = impl_->model.encode(text, options, &encoding.ranges);
  return encoding;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, const DecodeOptions& options) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    if (!(options.skip_special && is_special(id))) bytes += token_bytes(id);
  }
  return replace_invalid_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(std::int32_t id) const {
  return impl_->model.vocabulary.contains(id) ? impl_->model.vocabulary.bytes(id) : std::string_view();
}

bool Tokenizer::is_special(std::int32_t id) const {
  return impl_->model.vocabulary.contains(id) && impl_->model.vocabulary.is_special(id);
}

std::int32_t Tokenizer::vocab_size() const { return impl_->model.vocabulary.size(); }

std::optional<std::int32_t> Tokenizer::token_id(std::string_view token) const {
  const std::int32_t id = impl_->model.vocabulary.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::optional<std::int32_t> Tokenizer::bos_id() const { return impl_->bos_id; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return impl_->eos_id; }
const std::string& Tokenizer::chat_template() const { return impl_->config.chat_template; }
Json Tokenizer::template_defaults() const { return impl_->config.tokens; }
std::vector<Tokenizer::File> Tokenizer::files() const { return impl_->files; }

Tokenizer::Stream::Stream(const Tokenizer& tokenizer, const DecodeOptions& options)
    : tokenizer_(&tokenizer), options_(options) {}

std::string Tokenizer::Stream::push(std::int32_t id) {
  if (options_.skip_special && tokenizer_->is_special(id)) return {};
  pending_ += tokenizer_->token_bytes(id);
  const std::size_t complete = pending_.size() - incomplete_utf8_tail(pending_);
  std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string Tokenizer::Stream::finish() {
  std::string text = replace_invalid_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace grpo::inline GRPO_ABI
