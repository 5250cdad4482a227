// SPDX-License-Identifier: Apache-2.0
#include "jpeg.hpp"

#include <algorithm>
#include <vector>

#include "jpeg_codes.hpp"

namespace robocache {
namespace {

// Coefficients that a group of codes passes at most.
constexpr int kMostAdvance = 64;
// More bits than a value has.
constexpr uint8_t kNoGroup = 0xFF;

// Codes of coefficients that are whole in a window of bits, and their values: they can be skipped together.
struct Group {
  uint8_t num_bits = 0;     // of codes and values
  uint8_t advance = 0;      // coefficients that they pass, and one more where the last code ends the block
  uint8_t size = kNoGroup;  // most bits of a value
  bool ends = false;        // the block
};

Group group_in(uint32_t window, const uint16_t* codes) {
  Group group{0, 0, 0, false};
  while (group.num_bits < kCodeWindow && !group.ends) {
    const uint16_t found = codes[window << (16 - kCodeWindow + group.num_bits) & 0xFFFF];
    const int length = found >> 8, run = found >> 4 & 15, size = found & 15;
    if (length == 0 || group.num_bits + length > kCodeWindow || group.advance + run + 1 > kMostAdvance) break;
    group.ends = size == 0 && run < 15;
    group.num_bits = static_cast<uint8_t>(group.num_bits + length + size);
    group.advance = static_cast<uint8_t>(group.advance + (group.ends ? 1 : run + 1));
    group.size = std::max(group.size, static_cast<uint8_t>(size));
  }
  return group.num_bits > 0 ? group : Group();
}

// A table of codes, and of groups of them.
class Table : public JpegCodes {
 public:
  explicit Table(const uint16_t* codes) : JpegCodes(codes), groups_(1 << kCodeWindow) {
    for (uint32_t window = 0; window < groups_.size(); ++window) groups_[window] = group_in(window, codes);
  }

  Group group(const JpegBits& bits) const { return groups_[bits.peek(kCodeWindow)]; }

 private:
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

// The blocks of a scan.
class Blocks {
 public:
  explicit Blocks(const JpegScan& scan) : quanta_(scan.quanta) {
    const JpegTableCounts counts(scan);
    for (int64_t i = 0; i < counts.codes; ++i) tables_.emplace_back(scan.codes + (i << 16));
    for (int64_t i = 0; i < counts.quanta; ++i) safe_sizes_.emplace_back(scan.quanta + 64 * i);
  }

  JpegDamage read(const JpegBlock& block, JpegBits& bits, int64_t& previous) const {
    const int32_t* quanta = quanta_ + 64 * block.quantum;
    const int8_t* safe = safe_sizes_[block.quantum].before;
    const Table& table = tables_[block.ac];
    JpegValue found;
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

}  // namespace

JpegDamage jpeg_damage(const JpegScan& scan) {
  const Blocks blocks(scan);
  return read_mcus(scan, [&](JpegBits& bits, int64_t* previous) {
    for (int64_t i = 0; i < scan.num_blocks; ++i) {
      const JpegBlock& block = scan.blocks[i];
      const JpegDamage damage = blocks.read(block, bits, previous[block.component]);
      if (damage != JpegDamage::kNone) return damage;
    }
    return JpegDamage::kNone;
  });
}

}  // namespace robocache
