#include <grpo/config.h>

#include <cmath>

#include "base/config_fields.h"
#include "base/scalar.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxSimpleKey = 1000;  // bytes; YAML takes 1024 characters before a ':', longer keys need a '?'

// Text that YAML reads back as this very text without quotes, in blocks and in flow lists.
bool is_plain(const std::string& text) {
  static constexpr char kSafe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
  if (text.empty() || text[0] == '-' || text.find_first_not_of(kSafe) != text.npos) return false;
  if (text.find_first_not_of('.') == text.npos) return false;  // "..." ends a document
  // What starts like a number might overflow as one.
  const bool numeric = text.find_first_of("0123456789") == 0 || text[0] == '.' || text[0] == '+';
  return !numeric && plain_scalar(text).is_string();
}

// A JSON string is YAML, but for characters that our reader takes for binary.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : Json(text).dump()) {
    if (c == 0x7F) {
      out += "\\x7f";
    } else {
      out += c;
    }
  }
  return out;
}

std::string scalar(const Json& value) {
  if (value.is_string()) return is_plain(value.as_string()) ? value.as_string() : quoted(value.as_string());
  if (value.kind() == Json::Kind::Double && !std::isfinite(value.as_double())) {
    return std::isnan(value.as_double()) ? ".nan" : value.as_double() < 0 ? "-.inf" : ".inf";
  }
  return value.dump();  // null, numbers, and lists and objects without content
}

bool is_leaf(const Json& value) { return value.size() == 0; }

bool is_leaf_list(const Json& value) {
  if (!value.is_list()) return false;
  for (const Json& item : value.as_list()) {
    if (!is_leaf(item)) return false;
  }
  return true;
}

// Blocks for objects and lists of such, one line for lists of scalars. `out` stands at the start of a line, indented.
void append_block(std::string& out, const Json& value, std::size_t indent) {
  bool first = true;
  auto start_line = [&] {
    if (!first) out.append(indent, ' ');
    first = false;
  };
  auto append_below = [&](const Json& child) {
    if (is_leaf(child)) {
      out += " " + scalar(child) + "\n";
    } else if (is_leaf_list(child)) {
      out += " [";
      for (std::size_t i = 0; i < child.size(); ++i) out += (i ? ", " : "") + scalar(child.as_list()[i]);
      out += "]\n";
    } else if (value.is_list()) {
      out += ' ';
      append_block(out, child, indent + 2);
    } else {
      out += '\n';
      out.append(indent + 2, ' ');
      append_block(out, child, indent + 2);
    }
  };
  if (value.is_list()) {
    for (const Json& item : value.as_list()) {
      start_line();
      out += '-';
      append_below(item);
    }
    return;
  }
  for (const auto& [key, child] : value.as_object()) {
    start_line();
    const std::string text = is_plain(key) ? key : quoted(key);
    if (text.size() > kMaxSimpleKey) {
      out += "? " + text + "\n";
      out.append(indent, ' ');
      out += ':';
    } else {
      out += text + ":";
    }
    append_below(child);
  }
}

std::string needed_text(unsigned needed_for) {
  std::string text;
  auto add = [&](unsigned need, const char* what) {
    if (needed_for & need) text += (text.empty() ? "" : ", ") + std::string(what);
  };
  add(fields::kTrainGrpo, "train");
  add(fields::kTrainSft, "train (sft)");
  add(fields::kScore, "score");
  add(fields::kEvaluate, "evaluate");
  return text;
}

std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

void append_table(std::string& out, const std::vector<fields::FieldInfo>& infos, const std::string& above) {
  out += "| key | values | default | meaning |\n|---|---|---|---|\n";
  for (const auto& info : infos) {
    const std::string needed = needed_text(info.needed_for);
    const std::string shown = info.children.empty() ? "`" + info.default_value.dump() + "`" : "";
    out += "| `" + above + info.name + "` | " + cell(info.type) + " | " + cell(shown) + " | " + cell(info.doc) +
           (needed.empty() ? "" : "; needed by " + needed) + " |\n";
  }
  for (const auto& info : infos) {
    if (info.children.empty()) continue;
    const std::string path = above + info.name;
    out += "\n## `" + path + (info.is_list ? "` (each item)" : "`") + "\n\n" + info.doc + "\n\n";
    append_table(out, info.children, info.is_list ? path + ".N." : path + ".");
  }
}

void append_help(std::string& out, const std::vector<fields::FieldInfo>& infos, const std::string& above) {
  for (const auto& info : infos) {
    const std::string path = above + info.name;
    if (info.children.empty()) {
      out += path + "=" + info.default_value.dump() + "  (" + info.type + ")  " + info.doc + "\n";
    } else {
      append_help(out, info.children, info.is_list ? path + ".N." : path + ".");
    }
  }
}

}  // namespace

std::string to_yaml(const Json& tree) {
  if (is_leaf(tree)) return scalar(tree) + "\n";
  std::string out;
  append_block(out, tree, 0);
  return out;
}

std::string config_reference() {
  std::string out = "# Configuration\n\n";
  out +=
      "Every key of a run's YAML or JSON file, made from the field lists. Relative paths start from the file's "
      "folder.\n";
  out +=
      "`key=value` on the command line overrides a key, items of lists by index: `grpo.beta=0 rewards.0.weight=2`.\n\n"
      "An editor completes and checks a run file by the JSON Schema that `grpo config schema > grpo.schema.json` "
      "writes:\n"
      "a YAML file starts with the line `# yaml-language-server: $schema=grpo.schema.json` (read by editors with the "
      "YAML\n"
      "language server), a JSON file has the key `\"$schema\": \"grpo.schema.json\"`.\n\n";
  append_table(out, fields::field_infos(fields::run_fields()), "");
  return out;
}

std::string config_help() {
  std::string out;
  append_help(out, fields::field_infos(fields::run_fields()), "");
  return out;
}

}  // namespace grpo::inline GRPO_ABI
