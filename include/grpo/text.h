// Text in and out: tokenizers, chat templates, prompts and datasets. No tensors here.
//
// Services are const after construction and safe to share between threads; values are plain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <grpo/config.h>
#include <grpo/error.h>
#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

// ---- values -------------------------------------------------------------------------------------------------

struct Message {
  std::string role;
  std::string content;
};

enum class FinishReason { Stop, Length, Cancelled };
GRPO_API std::string_view to_string(FinishReason reason);
GRPO_API FinishReason finish_reason_from(std::string_view name);  // throws Error on another name

// What a row of a dataset becomes. Token ids are the record; text is for people and rewards.
struct Prompt {
  std::uint64_t row = 0;          // index in the dataset: the address of its randomness
  std::string id;                 // the row's id column, else "line N"
  std::string text;               // the rendered prompt, as encoded
  std::vector<Message> messages;  // empty for plain prompts
  std::vector<std::int32_t> ids;
  std::optional<std::string> answer;  // the reference answer, numbers as written
  Json columns;                       // the whole row
};

// ---- tokenizer ----------------------------------------------------------------------------------------------

struct EncodeOptions {
  bool add_special = false;   // what the post-processor adds (BOS and the like)
  bool parse_special = true;  // special tokens written in the text become their ids; false: they are plain text
};

// Bytes [begin, end) of a text.
struct TextRange {
  std::size_t begin = 0, end = 0;
};

struct DecodeOptions {
  bool skip_special = false;
};

// Byte-level BPE, ids equal to the Rust `tokenizers` library. Movable handle; const after construction.
class GRPO_API Tokenizer {
 public:
  // A model folder, a tokenizer.json, or a GGUF file (its tokenizer.ggml.* metadata).
  static Tokenizer load(const std::string& path);
  // From memory; `config_json` is tokenizer_config.json or empty. `source` names it in messages.
  static Tokenizer from_json(std::string_view tokenizer_json, std::string_view config_json = {},
                             const std::string& source = "tokenizer.json");
  // Trains a byte-level BPE of `vocab_size` tokens (256 bytes and the special tokens included); ties go to the pair
  // that is smallest in id order. Returns tokenizer.json text.
  struct TrainOptions {
    std::int32_t vocab_size = 1024;
    std::vector<std::string> special_tokens;  // ids from 0, in this order
    std::vector<std::string> atomic_tokens;   // ordinary added tokens (never split), after the special ones
    bool split_digits = true;
    std::string alphabet;  // non-empty: only these bytes instead of all 256
  };
  static std::string train(std::span<const std::string> texts, const TrainOptions& options);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Linear time in the text's length. Invalid UTF-8 is replaced by U+FFFD, as Python strings would have it. A byte
  // that has no token in a vocabulary without unk_token is dropped, as that library does (SmolLM2 lacks 21 bytes).
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // ... and the bytes of `text`, which is well-formed UTF-8, that each id stands for. Nothing for what the
  // post-processor adds; what normalisation rewrote into one character has one range.
  struct Encoding {
    std::vector<std::int32_t> ids;
    std::vector<TextRange> ranges;
  };
  Encoding encode_with_ranges(std::string_view text, const EncodeOptions& options = {}) const;
  // Text of the ids; incomplete UTF-8 becomes U+FFFD. An id that no token has (models pad their vocabulary) gives
  // nothing.
  std::string decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const;
  // The raw bytes of one token (special tokens: their text).
  std::string_view token_bytes(std::int32_t id) const;
  bool is_special(std::int32_t id) const;

  std::int32_t vocab_size() const;  // highest id + 1, added tokens included
  std::optional<std::int32_t> token_id(std::string_view token) const;
  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;  // of tokenizer_config.json or GGUF
  const std::string& chat_template() const;    // Jinja source, empty when the model has none
  Json template_defaults() const;              // {"bos_token": ..., "eos_token": ..., ...} for ChatTemplate
  // Files to copy byte for byte into an export; for a GGUF source the tokenizer.json made from its metadata.
  struct File {
    std::string name;
    std::string bytes;
  };
  std::vector<File> files() const;

  // Streaming decode: push ids, get the text that is complete so far; incomplete UTF-8 is held back.
  class GRPO_API Stream {
   public:
    explicit Stream(const Tokenizer& tokenizer, const DecodeOptions& options = {});
    std::string push(std::int32_t id);
    std::string finish();  // what was held back, as U+FFFD

   private:
    const Tokenizer* tokenizer_;
    DecodeOptions options_;
    std::string pending_;
  };

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

// ---- chat template --------------------------------------------------------------------------------------------

// A Jinja subset with transformers' environment (trim_blocks, lstrip_blocks, its tojson). Untrusted input: steps,
// depth and output size are bounded; `raise_exception` throws Error with the template's message.
class GRPO_API ChatTemplate {
 public:
  // `defaults`: variables every rendering sees (bos_token, eos_token). `source_name` appears in messages.
  explicit ChatTemplate(std::string_view source, Json defaults = {}, const std::string& source_name = "chat template");
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // `messages`: list of objects {"role", "content", ...}; `variables`: object or null.
  std::string render(const Json& messages, bool add_generation_prompt, const Json& variables = {}) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

GRPO_API Json to_json(std::span<const Message> messages);

// ---- prompts and datasets ---------------------------------------------------------------------------------------

// Renders and encodes prompts of one run. `tokenizer` must outlive it.
class GRPO_API PromptBuilder {
 public:
  PromptBuilder(const Tokenizer& tokenizer, const DataSection& data);
  ~PromptBuilder();
  PromptBuilder(PromptBuilder&&) noexcept;
  // Throws Error naming the row's file:line and field.
  Prompt build(const Json& row, std::uint64_t index) const;
  // An SFT row: the conversation's ids and, for each id, whether it is an assistant's token, the loss mask. Rows with
  // `messages`, or `prompt` + `completion`. A template with {% generation %} blocks decides itself: every token that
  // has a byte in one. Without, the content and end-of-turn token of each assistant's message.
  struct Conversation {
    std::vector<std::int32_t> ids;
    std::vector<std::uint8_t> is_assistant;
  };
  Conversation build_conversation(const Json& row) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The verbatim R1-Zero prompt (R1 paper, table 1) around a question.
GRPO_API std::string r1_zero_prompt(std::string_view question);

// Rows of a JSONL file, in memory, each with its line number. An empty file, a bad row, or a row that is no object is
// an Error naming file:line.
class GRPO_API Dataset {
 public:
  static Dataset load(const std::string& path, int max_rows = 0);
  static Dataset from_rows(std::vector<Json> rows, const std::string& source);
  std::size_t size() const { return rows_.size(); }
  const Json& row(std::size_t index) const { return rows_.at(index); }
  const std::string& source() const { return source_; }

 private:
  std::vector<Json> rows_;
  std::string source_;
};

// The order in which rows are visited: epoch e is a permutation addressed by (seed, e), so a cursor is one integer.
class GRPO_API RowOrder {
 public:
  RowOrder(std::size_t num_rows, std::int64_t seed, bool shuffle);
  std::uint64_t row_at(std::uint64_t position) const;  // position counts over all epochs

 private:
  std::size_t num_rows_;
  std::int64_t seed_;
  bool shuffle_;
  mutable std::uint64_t cached_epoch_ = ~std::uint64_t{0};
  mutable std::vector<std::uint64_t> permutation_;
};

// ---- arithmetic tasks -------------------------------------------------------------------------------------------

struct TaskOptions {
  std::string task = "addition";  // addition, subtraction, multiplication, chain_sum, countdown
  std::int64_t min_value = 0;
  std::int64_t max_value = 99;
  int count = 1000;  // rows; 0: every distinct problem (addition, subtraction, multiplication)
  std::int64_t seed = 0;
  double held_out = 0.1;               // share, by hash of the unordered operands: commuted twins stay together
  bool worked = false;                 // also `completion`: a worked answer in <think>/<answer> form (for SFT)
  std::string format = "{a}{op}{b}=";  // question text
};
struct TaskSplit {
  std::vector<Json> train;  // {"question", "answer", "a", "b"[, "completion"]}
  std::vector<Json> held_out;
};
GRPO_API TaskSplit make_tasks(const TaskOptions& options);

}  // namespace grpo::inline GRPO_ABI
