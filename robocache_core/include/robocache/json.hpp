// SPDX-License-Identifier: Apache-2.0
// JSON as far as the header of a fused frame needs it: UTF-8, integers, no value deeper than a few levels.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace robocache {

namespace detail {

// What is wrong with a frame, in a line of printable ASCII: names in it are a stranger's.
[[noreturn]] inline void refuse(std::string_view what) {
  constexpr std::size_t kMostShown = 200;
  std::string line = "not a fused frame: ";
  for (const char each : what.substr(0, kMostShown)) line += each >= ' ' && each <= '~' ? each : '?';
  throw std::runtime_error(line);
}

}  // namespace detail

struct Json {
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json>;
  std::variant<std::nullptr_t, bool, std::int64_t, std::string, Array, Object> value;

  // The value as a T; std::runtime_error names `what` where it is none.
  template <class T>
  const T& as(std::string_view what) const {
    if (const T* found = std::get_if<T>(&value)) return *found;
    detail::refuse(std::string(what) + " has another type");
  }
};

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  // The one value of the text, around which there may be spaces.
  Json parse() {
    Json json = value(0);
    skip_spaces();
    if (at_ != text_.size()) refuse("there is more behind its JSON");
    return json;
  }

 private:
  static constexpr int kMostLevels = 8;

  [[noreturn]] void refuse(const char* what) const {
    detail::refuse(std::string(what) + " (byte " + std::to_string(at_) + ")");
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }

  bool take(char wanted) {
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  void need(char wanted) {
    if (!take(wanted)) refuse("its JSON is damaged");
  }

  Json value(int level) {
    if (level > kMostLevels) refuse("its JSON is too deep");
    skip_spaces();
    if (at_ == text_.size()) refuse("its JSON is cut short");
    switch (text_[at_]) {
      case '{':
        return object(level);
      case '[':
        return array(level);
      case '"':
        return {string()};
      case 't':
        return word("true", {true});
      case 'f':
        return word("false", {false});
      case 'n':
        return word("null", {nullptr});
      default:
        return integer();
    }
  }

  Json word(std::string_view expected, Json meaning) {
    if (text_.substr(at_, expected.size()) != expected) refuse("its JSON is damaged");
    at_ += expected.size();
    return meaning;
  }

  Json integer() {
    std::int64_t number = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), number);
    if (error != std::errc()) refuse("its JSON has no integer where one is due");
    at_ += static_cast<std::size_t>(end - begin);
    return {number};
  }

  Json array(int level) {
    Json::Array items;
    need('[');
    if (take(']')) return {std::move(items)};
    do items.push_back(value(level + 1));
    while (take(','));
    need(']');
    return {std::move(items)};
  }

  Json object(int level) {
    Json::Object members;
    need('{');
    if (take('}')) return {std::move(members)};
    do {
      skip_spaces();
      std::string name = string();
      need(':');
      if (!members.emplace(std::move(name), value(level + 1)).second) refuse("a key of its JSON occurs twice");
    } while (take(','));
    need('}');
    return {std::move(members)};
  }

  std::string string() {
    std::string text;
    need('"');
    while (true) {
      if (at_ == text_.size()) refuse("its JSON is cut short");
      const char each = text_[at_++];
      if (each == '"') return text;
      if (each == '\\')
        escaped(text);
      else
        text += each;
    }
  }

  void escaped(std::string& text) {
    constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (at_ == text_.size()) refuse("its JSON is cut short");
    const char letter = text_[at_++];
    if (letter == 'u') {
      append_utf8(text, code_point());
      return;
    }
    const std::size_t which = kLetters.find(letter);
    if (which == std::string_view::npos) refuse("its JSON has an unknown escape");
    text += kMeanings[which];
  }

  unsigned code_unit() {
    unsigned unit = 0;
    const char* begin = text_.data() + at_;
    if (text_.size() - at_ < 4 || std::from_chars(begin, begin + 4, unit, 16).ptr != begin + 4)
      refuse("its JSON has an unknown escape");
    at_ += 4;
    return unit;
  }

  unsigned code_point() {
    const unsigned high = code_unit();
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high > 0xDBFF || text_.substr(at_, 2) != "\\u") refuse("its JSON has half a character");
    at_ += 2;
    const unsigned low = code_unit();
    if (low < 0xDC00 || low > 0xDFFF) refuse("its JSON has half a character");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  static void append_utf8(std::string& text, unsigned code) {
    if (code < 0x80) {
      text += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    text += static_cast<char>((0xFF00 >> (more + 1) & 0xFF) | code >> 6 * more);
    for (int i = more - 1; i >= 0; --i) text += static_cast<char>(0x80 | (code >> 6 * i & 0x3F));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace robocache
