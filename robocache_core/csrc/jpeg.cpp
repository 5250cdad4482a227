// SPDX-License-Identifier: Apache-2.0
#include "jpeg.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace robocache {
namespace {

constexpr int kMaxComponents = 4;
// What a DCT of 8-bit pixels gives, 1024, and what encoders that overshoot white add.
constexpr int64_t kLargest = 1280;
// Bits by which codes are looked up.
constexpr int kWindow = 11;
// Coefficients that a group of codes passes at most.
constexpr int kMostAdvance = 64;
// More bits than a value has.
constexpr uint8_t kNoGroup = 0xFF;
// Bytes that the codes and values of a block take at most, and those that a refill reads ahead.
constexpr size_t kPadding = 64 * 4 + 16;

bool is_large(int64_t value, int32_t quantum) { return std::abs(value) * quantum > kLargest + quantum; }

// Bits of bytes that kPadding zeros follow.
class Bits {
 public:
  Bits(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}

  // Makes 56 bits available to `peek` and `skip`.
  void refill() {
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word = word << 8 | at_[i];
    bits_ |= word >> held_;  // what was there already is the same
    at_ += (63 - held_) >> 3;
    held_ |= 56;
  }

  uint32_t peek(int count) const { return static_cast<uint32_t>(bits_ >> 1 >> (63 - count)); }

  void skip(int count) {
    bits_ <<= count;
    held_ -= count;
  }

  // Bits up to the end; below 0 where more were skipped than there are.
  int64_t left() const { return 8 * (end_ - at_) + held_; }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
  uint64_t bits_ = 0;
  int held_ = 0;
};

// Codes of coefficients that are whole in a window of bits, and their values: they can be skipped together.
struct Group {
  uint8_t num_bits = 0;     // of codes and values
  uint8_t advance = 0;      // coefficients that they pass, and one more where the last code ends the block
  uint8_t size = kNoGroup;  // most bits of a value
  bool ends = false;        // the block
};

Group group_in(uint32_t window, const uint16_t* codes) {
  Group group{0, 0, 0, false};
  while (group.num_bits < kWindow && !group.ends) {
    const uint16_t found = codes[window << (16 - kWindow + group.num_bits) & 0xFFFF];
    const int length = found >> 8, run = found >> 4 & 15, size = found & 15;
    if (length == 0 || group.num_bits + length > kWindow || group.advance + run + 1 > kMostAdvance) break;
    group.ends = size == 0 && run < 15;
    group.num_bits = static_cast<uint8_t>(group.num_bits + length + size);
    group.advance = static_cast<uint8_t>(group.advance + (group.ends ? 1 : run + 1));
    group.size = std::max(group.size, static_cast<uint8_t>(size));
  }
  return group.num_bits > 0 ? group : Group();
}

// A table of codes, in small ones that stay in the cache: an image takes most of its codes from there.
class Table {
 public:
  explicit Table(const uint16_t* codes) : codes_(codes), short_(1 << kWindow), groups_(1 << kWindow) {
    for (uint32_t window = 0; window < short_.size(); ++window) {
      const uint16_t found = codes[window << (16 - kWindow)];
      short_[window] = found >> 8 <= kWindow ? found : 0;
      groups_[window] = group_in(window, codes);
    }
  }

  // The next code: its length << 8 | its symbol; 0: there is none.
  uint16_t code(const Bits& bits) const {
    const uint16_t found = short_[bits.peek(kWindow)];
    return found != 0 ? found : codes_[bits.peek(16)];
  }

  Group group(const Bits& bits) const { return groups_[bits.peek(kWindow)]; }

 private:
  const uint16_t* codes_;
  std::vector<uint16_t> short_;
  std::vector<Group> groups_;
};

// Sizes of values, bits, that cannot be too large.
struct SafeSizes {
  explicit SafeSizes(const int32_t* quanta) {
    std::fill(std::begin(before), std::end(before), int8_t{-1});
    int8_t size = 15;
    for (int k = 1; k < 64; ++k) {
      while (is_large((int64_t{1} << size) - 1, quanta[k])) --size;
      before[k + 1] = size;
    }
  }

  int8_t before[65 + kMostAdvance];  // of the coefficients before one; none where that is beyond the block
};

struct Value {
  int symbol;
  int64_t value;
};

// Reads a code, and the value whose size are the bits `size_mask` of its symbol. Inline, so that `bits` are in
// registers.
inline JpegDamage read_value(const Table& table, int size_mask, Bits& bits, Value& result) {
  bits.refill();
  const uint16_t found = table.code(bits);
  const int length = found >> 8, symbol = found & 0xFF, size = symbol & size_mask;
  if (length == 0 || size > 15) return bits.left() < 16 ? JpegDamage::kEndsEarly : JpegDamage::kNoCode;
  bits.skip(length);
  int64_t value = bits.peek(size);
  bits.skip(size);
  if (bits.left() < 0) return JpegDamage::kEndsEarly;
  if (size > 0 && value < int64_t{1} << (size - 1)) value += 1 - (int64_t{1} << size);
  result = {symbol, value};
  return JpegDamage::kNone;
}

// The blocks of a scan.
class Blocks {
 public:
  explicit Blocks(const JpegScan& scan) : quanta_(scan.quanta) {
    int32_t num_tables = 0, num_quanta = 0;
    for (const JpegBlock* block = scan.blocks; block < scan.blocks + scan.num_blocks; ++block) {
      num_tables = std::max({num_tables, block->dc + 1, block->ac + 1});
      num_quanta = std::max(num_quanta, block->quantum + 1);
    }
    for (int64_t i = 0; i < num_tables; ++i) tables_.emplace_back(scan.codes + (i << 16));
    for (int64_t i = 0; i < num_quanta; ++i) safe_sizes_.emplace_back(scan.quanta + 64 * i);
  }

  JpegDamage read(const JpegBlock& block, Bits& bits, int64_t& previous) const {
    const int32_t* quanta = quanta_ + 64 * block.quantum;
    const int8_t* safe = safe_sizes_[block.quantum].before;
    const Table& table = tables_[block.ac];
    Value found;
    JpegDamage damage = read_value(tables_[block.dc], 0xFF, bits, found);
    if (damage != JpegDamage::kNone) return damage;
    previous += found.value;
    if (is_large(previous, quanta[0])) return JpegDamage::kLargeValue;
    for (int k = 1; k < 64; ++k) {
      bits.refill();
      const Group group = table.group(bits);
      if (group.size <= safe[k + group.advance]) {
        bits.skip(group.num_bits);
        if (group.ends) break;
        k += group.advance - 1;
        continue;
      }
      damage = read_value(table, 15, bits, found);
      if (damage != JpegDamage::kNone) return damage;
      const int run = found.symbol >> 4;
      if ((found.symbol & 15) == 0 && run < 15) break;
      k += run;
      if (k > 63) return JpegDamage::kLongBlock;
      if (is_large(found.value, quanta[k])) return JpegDamage::kLargeValue;
    }
    return bits.left() < 0 ? JpegDamage::kEndsEarly : JpegDamage::kNone;
  }

 private:
  const int32_t* quanta_;
  std::vector<Table> tables_;
  std::vector<SafeSizes> safe_sizes_;
};

// Makes `bytes` those up to the next marker or the end, FF 00 being one, and the padding; returns where that is.
const uint8_t* take_part(const uint8_t* at, const uint8_t* end, std::vector<uint8_t>& bytes) {
  bytes.clear();
  while (at < end) {
    const void* found = std::memchr(at, 0xFF, static_cast<size_t>(end - at));
    const uint8_t* stop = found == nullptr ? end : static_cast<const uint8_t*>(found);
    bytes.insert(bytes.end(), at, stop);
    at = stop;
    if (end - at < 2 || at[1] != 0) break;
    bytes.push_back(0xFF);
    at += 2;
  }
  bytes.insert(bytes.end(), kPadding, 0);
  return at;
}

// Whether nothing but padding is left.
bool is_padding(Bits& bits) {
  bits.refill();
  const int padding = static_cast<int>(bits.left() % 8);
  const uint32_t rest = bits.peek(padding);
  if (rest != 0 && rest != (1u << padding) - 1) return false;
  for (bits.skip(padding); bits.left() > 0; bits.skip(8)) {
    bits.refill();
    const uint32_t byte = bits.peek(8);
    if (byte != 0 && byte != 0xFF) return false;
  }
  return true;
}

}  // namespace

JpegDamage jpeg_damage(const JpegScan& scan) {
  const Blocks blocks(scan);
  std::vector<uint8_t> bytes;
  bytes.reserve(static_cast<size_t>(scan.end - scan.data) + kPadding);
  const uint8_t* at = scan.data;
  const int64_t interval = scan.restart > 0 ? scan.restart : std::max<int64_t>(scan.num_mcus, 1);
  for (int64_t done = 0, number = 0; done < scan.num_mcus; done += interval, ++number) {
    if (number > 0) {
      if (at == scan.end || *at != 0xD0 + (number - 1) % 8) return JpegDamage::kNoRestart;
      ++at;
    }
    at = take_part(at, scan.end, bytes);
    Bits bits(bytes.data(), bytes.data() + bytes.size() - kPadding);
    int64_t previous[kMaxComponents] = {};
    for (int64_t mcu = std::min(interval, scan.num_mcus - done); mcu > 0; --mcu) {
      for (int64_t i = 0; i < scan.num_blocks; ++i) {
        const JpegBlock& block = scan.blocks[i];
        const JpegDamage damage = blocks.read(block, bits, previous[block.component]);
        if (damage != JpegDamage::kNone) return damage;
      }
    }
    if (!is_padding(bits)) return JpegDamage::kLeftOver;
    while (at < scan.end && (*at == 0 || *at == 0xFF)) ++at;
    const bool is_restart = at < scan.end && *at >= 0xD0 && *at <= 0xD7 && at[-1] == 0xFF;
    if (at < scan.end && !is_restart) return JpegDamage::kLeftOver;
  }
  return at == scan.end ? JpegDamage::kNone : JpegDamage::kLeftOver;
}

}  // namespace robocache
