#include "reward/rational.h"

#include <algorithm>
#include <vector>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxExponentDigits = 15;  // sums of a few such exponents stay far from overflow
constexpr std::size_t kNone = std::string_view::npos;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// ---- digits ---------------------------------------------------------------------------------------------------

void strip_leading_zeros(std::string& digits) { digits.erase(0, digits.find_first_not_of('0')); }

std::int64_t strip_trailing_zeros(std::string& digits) {
  const std::size_t last = digits.find_last_not_of('0');
  const std::size_t kept = last == kNone ? 0 : last + 1;
  const auto removed = static_cast<std::int64_t>(digits.size() - kept);
  digits.resize(kept);
  return removed;
}

// Schoolbook product of two decimal strings of at most kMaxFractionDigits digits, in limbs of nine digits.
std::string multiply(const std::string& a, const std::string& b) {
  constexpr std::size_t kLimbDigits = 9;
  constexpr std::uint64_t kBase = 1'000'000'000;
  auto limbs_of = [](const std::string& digits) {
    std::vector<std::uint64_t> limbs;
    for (std::size_t end = digits.size(); end > 0;) {
      const std::size_t begin = end > kLimbDigits ? end - kLimbDigits : 0;
      limbs.push_back(std::stoull(digits.substr(begin, end - begin)));
      end = begin;
    }
    return limbs;
  };
  const auto x = limbs_of(a), y = limbs_of(b);
  std::vector<std::uint64_t> product(x.size() + y.size(), 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::uint64_t carry = 0;
    for (std::size_t j = 0; j < y.size() || carry > 0; ++j) {
      const std::uint64_t sum = product[i + j] + carry + (j < y.size() ? x[i] * y[j] : 0);
      product[i + j] = sum % kBase;
      carry = sum / kBase;
    }
  }
  std::string digits;
  for (std::size_t i = product.size(); i-- > 0;) {
    const std::string limb = std::to_string(product[i]);
    digits.append(kLimbDigits - limb.size(), '0').append(limb);
  }
  strip_leading_zeros(digits);
  return digits;
}

std::string add(const std::string& a, const std::string& b) {
  std::string sum;
  int carry = 0;
  for (std::size_t i = 0; i < std::max(a.size(), b.size()) || carry > 0; ++i) {
    const int x = i < a.size() ? a[a.size() - 1 - i] - '0' : 0;
    const int y = i < b.size() ? b[b.size() - 1 - i] - '0' : 0;
    sum += static_cast<char>('0' + (x + y + carry) % 10);
    carry = (x + y + carry) / 10;
  }
  std::reverse(sum.begin(), sum.end());
  return sum;
}

void make_canonical(Rational& r) {
  strip_leading_zeros(r.num);
  strip_leading_zeros(r.den);
  if (r.num.empty()) {
    r = Rational{};
    return;
  }
  r.exp10 += strip_trailing_zeros(r.num);
  r.exp10 -= strip_trailing_zeros(r.den);
}

// ---- reading --------------------------------------------------------------------------------------------------

// A cursor over folded text. Every reader returns false (or 0) without moving when its piece is not there.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  std::size_t position() const { return at_; }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool take(std::string_view piece) {
    if (!text_.substr(at_).starts_with(piece)) return false;
    at_ += piece.size();
    return true;
  }
  // A command that is not the start of a longer one.
  bool take_command(std::string_view command) {
    if (!text_.substr(at_).starts_with(command) || is_letter(peek(command.size()))) return false;
    at_ += command.size();
    return true;
  }
  void skip_space() {
    while (true) {
      if (peek() == ' ' || peek() == '\n' || peek() == '~') {
        ++at_;
      } else if (peek() == '\\' && peek(1) != '\0' && std::string_view(",!;: ").find(peek(1)) != kNone) {
        at_ += 2;
      } else {
        return;
      }
    }
  }
  std::string_view digits() {
    const std::size_t begin = at_;
    while (is_digit(peek())) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  bool sign(bool& negative) {
    if (peek() != '-' && peek() != '+') return false;
    negative = peek() == '-';
    ++at_;
    return true;
  }
  // Digits in groups of three, if the separators stand right; the first group is already read.
  void groups(std::string& digits_out) {
    if (digits_out.size() > 3 || digits_out.front() == '0') return;
    while (true) {
      const std::size_t separator = separator_length();
      if (separator == 0) return;
      for (std::size_t i = 0; i < 3; ++i) {
        if (!is_digit(peek(separator + i))) return;
      }
      if (is_digit(peek(separator + 3))) return;
      digits_out.append(text_.substr(at_ + separator, 3));
      at_ += separator + 3;
    }
  }
  // Digits, groups, fraction digits, exponent: num * 10^exp10. Over the exponent limit sets `over_limit`.
  bool decimal(Rational& out) {
    std::string whole(digits());
    const bool has_whole = !whole.empty();
    if (has_whole) groups(whole);
    std::string_view fraction;
    if (peek() == '.' && is_digit(peek(1))) {
      ++at_;
      fraction = digits();
    }
    if (!has_whole && fraction.empty()) return false;
    out.num = whole.append(fraction);
    out.exp10 = -static_cast<std::int64_t>(fraction.size());
    exponent(out.exp10);
    return true;
  }
  bool over_limit() const { return over_limit_; }
  // "\times 10^{5}" and its spellings after a decimal.
  void times_power_of_ten(std::int64_t& exp10) {
    const std::size_t start = at_;
    skip_space();
    if (take_command("\\times") || take_command("\\cdot") || take("*")) {
      skip_space();
      if (take("10^")) {
        const bool braced = take("{");
        const bool read = signed_exponent(exp10);
        if (read && (!braced || take("}"))) return;
      }
    }
    at_ = start;
  }

 private:
  std::size_t separator_length() const {
    const std::string_view rest = text_.substr(at_);
    for (const std::string_view separator : {",\\!", "{,}", "\\,", ","}) {
      if (rest.starts_with(separator)) return separator.size();
    }
    return 0;
  }
  void exponent(std::int64_t& exp10) {
    if (peek() != 'e' && peek() != 'E') return;
    const bool has_sign = peek(1) == '-' || peek(1) == '+';
    if (!is_digit(peek(has_sign ? 2 : 1))) return;
    ++at_;
    signed_exponent(exp10);
  }
  bool signed_exponent(std::int64_t& exp10) {
    bool negative = false;
    sign(negative);
    const std::string_view read = digits();
    if (read.empty()) return false;
    const std::size_t first = std::min(read.find_first_not_of('0'), read.size());
    if (read.size() - first > kMaxExponentDigits) {
      over_limit_ = true;
      return true;
    }
    std::int64_t value = 0;
    for (const char c : read) value = value * 10 + (c - '0');
    exp10 += negative ? -value : value;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool over_limit_ = false;
};

// {decimal}, {-decimal} or one digit.
bool fraction_part(Reader& in, Rational& part) {
  in.skip_space();
  if (!in.take("{")) {
    if (!is_digit(in.peek())) return false;
    part.num = std::string(1, in.peek());
    return in.take(part.num);
  }
  in.skip_space();
  in.sign(part.negative);
  if (!in.decimal(part)) return false;
  in.skip_space();
  return in.take("}");
}

bool take_fraction_command(Reader& in) {
  for (const std::string_view command : {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"}) {
    if (in.take_command(command)) return true;
  }
  return false;
}

Rational quotient(const Rational& top, const Rational& bottom) {
  return {top.negative != bottom.negative, top.num, bottom.num, top.exp10 - bottom.exp10};
}

bool is_zero(const Rational& r) { return r.num.find_first_not_of('0') == kNone; }

// `whole` + part, for mixed numbers: both non-negative integers over small denominators.
bool add_whole(const std::string& whole, Rational& part) {
  if (part.exp10 != 0 || whole.size() + part.den.size() > kMaxFractionDigits || part.den.size() > kMaxFractionDigits) {
    return false;
  }
  part.num = add(multiply(whole, part.den), part.num);
  return true;
}

// What follows a leading decimal: "/b", "\frac{..}{..}", " a/b" or nothing. False: malformed.
bool continue_number(Reader& in, bool plain_integer, Rational& value, Rational& bottom) {
  Rational top;
  const std::size_t before_space = in.position();
  in.skip_space();
  const bool spaced = in.position() != before_space;
  if (in.take("/")) {
    in.skip_space();
    in.sign(bottom.negative);
    if (!in.decimal(bottom)) return false;
    value = quotient(value, bottom);
    return true;
  }
  if (!plain_integer) return true;
  const std::string whole = value.num;
  if (take_fraction_command(in)) {
    if (!fraction_part(in, top) || !fraction_part(in, bottom) || top.negative || bottom.negative) return false;
  } else if (spaced && is_digit(in.peek())) {
    if (!in.decimal(top) || !in.take("/") || !in.decimal(bottom)) return false;
  } else {
    return true;
  }
  value = quotient(top, bottom);
  return add_whole(whole, value);
}

NumberResult failed(NumberFault fault) { return {std::nullopt, fault}; }

}  // namespace

bool equal(const Rational& a, const Rational& b) {
  if (a.num == "0" || b.num == "0") return a.num == b.num;
  if (a.negative != b.negative) return false;
  if (a.den == b.den) return a.num == b.num && a.exp10 == b.exp10;
  for (const std::string* part : {&a.num, &a.den, &b.num, &b.den}) {
    if (part->size() > kMaxFractionDigits) return false;
  }
  // a.num b.den 10^a.exp10 = b.num a.den 10^b.exp10, with the powers of ten of the products taken out.
  std::string left = multiply(a.num, b.den), right = multiply(b.num, a.den);
  const std::int64_t left_exp = a.exp10 + strip_trailing_zeros(left);
  const std::int64_t right_exp = b.exp10 + strip_trailing_zeros(right);
  return left == right && left_exp == right_exp;
}

NumberResult parse_number(std::string_view text) {
  Reader in(text);
  ParsedNumber parsed;
  Rational bottom{false, "1", "1", 0};
  bool negative = false;
  in.skip_space();
  if (in.sign(negative)) in.skip_space();
  if (take_fraction_command(in)) {
    Rational top;
    if (!fraction_part(in, top) || !fraction_part(in, bottom)) return failed(NumberFault::NotANumber);
    parsed.value = quotient(top, bottom);
  } else {
    const std::size_t begin = in.position();
    if (!in.decimal(parsed.value)) return failed(NumberFault::NotANumber);
    const bool plain_integer = text.substr(begin, in.position() - begin).find_first_not_of("0123456789") == kNone;
    in.times_power_of_ten(parsed.value.exp10);
    if (!continue_number(in, plain_integer, parsed.value, bottom)) return failed(NumberFault::NotANumber);
  }
  in.skip_space();
  parsed.is_percent = in.take("%") || in.take("\\%");
  in.skip_space();
  in.take(".");
  in.skip_space();
  if (!in.at_end()) return failed(NumberFault::NotANumber);
  if (is_zero(bottom)) return failed(NumberFault::ZeroDenominator);
  if (in.over_limit()) return failed(NumberFault::OverLimit);
  parsed.value.negative = parsed.value.negative != negative;
  make_canonical(parsed.value);
  return {std::move(parsed), NumberFault::None};
}

std::size_t number_length(std::string_view text) {
  Reader in(text);
  Rational ignored;
  bool negative = false;
  in.sign(negative);
  if (!in.decimal(ignored)) return 0;
  if (in.peek() == '/' && is_digit(in.peek(1))) {
    in.take("/");
    in.decimal(ignored);
  }
  if (!in.take("%")) in.take("\\%");
  return in.position();
}

}  // namespace grpo::inline GRPO_ABI
