#include "reward/plugin_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/nearest.h"
#include "base/utf8.h"
#include "reward/params.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Far above what a plug-in says of itself; a longer text is no text.
constexpr std::uint64_t kMaxTextBytes = 64 * 1024;
constexpr std::uint32_t kMaxRewards = 256;
constexpr std::uint64_t kMaxParams = 256;

std::string declared_text(grpo_str text, const std::string& what) {
  GRPO_CHECK(text.n <= kMaxTextBytes && (text.p != nullptr || text.n == 0), what + " is no text");
  return plugin_text(text.p, text.n);
}

Json default_of(const grpo_param_v1& param, const std::string& what) {
  switch (param.type) {
    case GRPO_NUMBER:
      return param.default_value.number;
    case GRPO_INTEGER:
      return param.default_value.integer;
    case GRPO_FLAG:
      return param.default_value.integer != 0;
    default:
      return declared_text(param.default_value.text, "the default of " + what);
  }
}

bool is_numeric(std::uint32_t type) { return type == GRPO_NUMBER || type == GRPO_INTEGER; }

PluginParam declared_param(const grpo_param_v1* param, const std::string& reward) {
  GRPO_CHECK(param != nullptr, reward + ": a parameter is null");
  GRPO_CHECK(param->struct_size >= sizeof(grpo_param_v1), reward + ": a parameter's struct_size is " +
                                                              std::to_string(param->struct_size) + ", expected " +
                                                              std::to_string(sizeof(grpo_param_v1)) + " or more");
  PluginParam made;
  made.name = declared_text(param->name, reward + ": the name of a parameter");
  GRPO_CHECK(!made.name.empty(), reward + ": a parameter has no name");
  const std::string what = reward + ": parameter '" + made.name + "'";
  GRPO_CHECK(param->type <= GRPO_TEXT, what + " has an unknown type " + std::to_string(param->type));
  made.type = param->type;
  made.doc = declared_text(param->doc, "the description of " + what);
  made.is_required = param->is_required != 0;
  if (is_numeric(made.type)) {
    GRPO_CHECK(param->low <= param->high, what + " has an empty range");
    made.range = fields::between(param->low, param->high);
  }
  if (made.is_required) return made;
  made.default_value = default_of(*param, what);
  if (!is_numeric(made.type)) return made;
  const double value = made.default_value.as_double();
  GRPO_CHECK(std::isfinite(value) && made.range.contains(value), what + " has a default outside of its range");
  return made;
}

void check_table(const grpo_reward_v1& table) {
  GRPO_CHECK(table.abi == GRPO_PLUGIN_ABI, "it speaks plug-in ABI " + std::to_string(table.abi) + ", this grpo " +
                                               std::to_string(GRPO_PLUGIN_ABI) +
                                               "; build it again with this grpo's headers");
  GRPO_CHECK(table.struct_size >= sizeof(grpo_reward_v1),
             "the struct_size of its table is " + std::to_string(table.struct_size) + ", expected " +
                 std::to_string(sizeof(grpo_reward_v1)) + " or more; build it again with this grpo's headers");
  const bool is_whole = table.create && table.destroy && table.range && table.score;
  GRPO_CHECK(is_whole, "its table lacks create, destroy, range or score");
  GRPO_CHECK(table.n_params <= kMaxParams && (table.params != nullptr || table.n_params == 0),
             "its table has " + std::to_string(table.n_params) + " parameters or none at its pointer");
}

using EntryPoint = decltype(&grpo_reward_plugin);

EntryPoint open_library(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    // The linker starts its text with the path, which we name ourselves.
    std::string reason = dlerror();
    if (reason.rfind(path + ": ", 0) == 0) reason = reason.substr(path.size() + 2);
    throw Error("cannot load it: " + reason);
  }
  void* symbol = dlsym(library, "grpo_reward_plugin");
  GRPO_CHECK(symbol != nullptr, "it has no symbol grpo_reward_plugin, so it is no reward plug-in");
  return reinterpret_cast<EntryPoint>(symbol);
}

const grpo_reward_v1& find_reward(EntryPoint entry, const std::string& type) {
  std::vector<std::string> types;
  for (std::uint32_t index = 0; index < kMaxRewards; ++index) {
    const grpo_reward_v1* table = entry(GRPO_PLUGIN_ABI, index);
    if (table == nullptr) break;
    check_table(*table);
    types.push_back(declared_text(table->type, "the name of a type"));
    if (types.back() == type) return *table;
  }
  std::string list;
  for (const std::string& one : types) list += (list.empty() ? "" : ", ") + one;
  throw Error("it has no reward of type '" + type + "'" + nearest_hint(type, types) +
              (types.empty() ? "; it has none" : "; it has: " + list));
}

PluginDeclaration declaration_of(const grpo_reward_v1& table) {
  PluginDeclaration made;
  made.type = declared_text(table.type, "the name of a type");
  made.doc = declared_text(table.doc, made.type + ": the description");
  made.compares_answers = (table.flags & GRPO_COMPARES_ANSWERS) != 0;
  made.has_applies = table.applies != nullptr;
  made.has_check_row = table.check_row != nullptr;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < table.n_params; ++i) {
    made.params.push_back(declared_param(table.params[i], made.type));
    GRPO_CHECK(names.insert(made.params.back().name).second,
               made.type + ": two parameters are named '" + made.params.back().name + "'");
  }
  return made;
}

}  // namespace

std::string plugin_text(const char* bytes, std::size_t size) {
  const std::string_view text(bytes, size == 0 ? 0 : strnlen(bytes, size));
  std::string shown;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    shown += length == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(i, length);
    i += length == 0 ? 1 : length;
  }
  return shown;
}

Plugin load_plugin(const std::string& path, const std::string& type) {
  const std::string absolute = std::filesystem::absolute(path).string();  // never by the linker's search path
  try {
    const grpo_reward_v1& table = find_reward(open_library(absolute), type);
    return {&table, declaration_of(table)};
  } catch (const Error& error) {
    throw Error(absolute + ": " + error.what());
  }
}

Json::List plugin_values(const PluginDeclaration& declaration, const std::string& name, const Json& params) {
  const fields::FieldContext context = params_context(name);
  if (!params.is_null() && !params.is_object()) fields::field_error(params, context, "keys and values");
  std::vector<std::string> known;
  for (const PluginParam& param : declaration.params) known.push_back(param.name);
  if (params.is_object()) {
    for (const auto& [key, value] : params.as_object()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) fields::unknown_key(value, context, key, known);
    }
  }
  Json::List values;
  for (const PluginParam& param : declaration.params) {
    const Json* given = params.find(param.name);
    const fields::FieldContext place = context.child(param.name);
    if (given == nullptr && param.is_required) {
      const char* const kTypes[] = {"number", "integer", "true or false", "text"};
      missing_param(params, context, param.name, fields::described(kTypes[param.type], param.range));
    }
    if (given == nullptr) {
      values.push_back(param.default_value);
      continue;
    }
    switch (param.type) {
      case GRPO_NUMBER:
        values.emplace_back(fields::read_number(*given, place, param.range));
        break;
      case GRPO_INTEGER:
        values.emplace_back(static_cast<long long>(fields::read_integer(*given, place, param.range)));
        break;
      case GRPO_FLAG:
        values.emplace_back(fields::read_flag(*given, place));
        break;
      default:
        values.emplace_back(fields::read_text(*given, place));
    }
  }
  return values;
}

}  // namespace grpo::inline GRPO_ABI
