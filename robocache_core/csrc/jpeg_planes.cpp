// SPDX-License-Identifier: Apache-2.0
#include "jpeg_planes.hpp"

#include <algorithm>
#include <vector>

#include "jpeg_codes.hpp"
#include "jpeg_transform.hpp"

namespace robocache {
namespace {

// More coefficients than a block has.
constexpr uint8_t kTooMany = 65;

// One or two codes that are whole in a window of bits, and their values. Where there is no second one, or it ends the
// block, its value is 0 and its place that of the first.
struct Codes {
  int16_t first = 0, second = 0;
  uint8_t first_place = 0, second_place = 0;  // coefficients on
  uint8_t advance = kTooMany;                 // coefficients that they pass, and one more where the block ends
  uint8_t num_bits = 0;                       // of codes and values, and kEnds
};
constexpr uint8_t kEnds = 0x80;  // the block

// is_first: of a block's first coefficients, whose codes have no run and end nothing.
Codes codes_in(uint32_t window, const uint16_t* codes, bool is_first) {
  Codes found;
  int used = 0, place = 0;
  bool ends = false;
  for (int i = 0; i < (is_first ? 1 : 2) && !ends; ++i) {
    const uint16_t code = codes[window << (16 - kCodeWindow + used) & 0xFFFF];
    const int length = code >> 8, run = code >> 4 & 15, size = code & 15;
    if (length == 0 || used + length + size > kCodeWindow) break;
    const int64_t bits = window >> (kCodeWindow - used - length - size) & ((1u << size) - 1);
    ends = !is_first && size == 0 && run < 15;
    used += length + size;
    (i == 0 ? found.first : found.second) = static_cast<int16_t>(signed_value(bits, size));
    if (!ends || i == 0) found.second_place = static_cast<uint8_t>(ends ? 0 : place + run);
    if (i == 0) found.first_place = found.second_place;
    place += ends ? 1 : run + 1;
    found.advance = static_cast<uint8_t>(place);
  }
  found.num_bits = static_cast<uint8_t>(used | (ends ? kEnds : 0));
  return found;
}

// A table of codes, and of those with their values.
class Table : public JpegCodes {
 public:
  Table(const uint16_t* codes, bool is_first) : JpegCodes(codes), with_values_(1 << kCodeWindow) {
    for (uint32_t window = 0; window < with_values_.size(); ++window)
      with_values_[window] = codes_in(window, codes, is_first);
  }

  Codes with_values(const JpegBits& bits) const { return with_values_[bits.peek(kCodeWindow)]; }

 private:
  std::vector<Codes> with_values_;
};

// The blocks of a scan.
class Blocks {
 public:
  explicit Blocks(const JpegScan& scan) : quanta_(scan.quanta) {
    const JpegBlock *first = scan.blocks, *last = first + scan.num_blocks;
    for (int32_t i = 0; i < JpegTableCounts(scan).codes; ++i) {
      const bool is_first = std::any_of(first, last, [i](const JpegBlock& block) { return block.dc == i; });
      tables_.emplace_back(scan.codes + (int64_t{i} << 16), is_first);
    }
  }

  // Writes the coefficients of a block, by rows, to zeros; those that are too large are left to what comes after.
  JpegDamage read(const JpegBlock& block, JpegBits& bits, int64_t& previous, int16_t* out) const {
    JpegBits at = bits;  // in registers
    at.refill();
    const Codes codes = tables_[block.dc].with_values(at);
    JpegValue found{0, codes.first};
    if (codes.num_bits != 0) {
      at.skip(codes.num_bits);
    } else {
      const JpegDamage damage = read_value(tables_[block.dc], 0xFF, at, found);
      if (damage != JpegDamage::kNone) return damage;
    }
    previous += found.value;
    if (is_large(previous, quanta_[64 * block.quantum])) return JpegDamage::kLargeValue;
    out[0] = static_cast<int16_t>(previous);
    const JpegDamage damage = read_others(tables_[block.ac], at, out);
    bits = at;
    return damage;
  }

 private:
  // All coefficients but the first.
  static JpegDamage read_others(const Table& table, JpegBits& bits, int16_t* out) {
    int k = 1;
    while (!read_short(table, bits, k, out) && k < 64) {
      JpegValue found;
      const JpegDamage damage = read_value(table, 15, bits, found);
      if (damage != JpegDamage::kNone) return damage;
      const int run = found.symbol >> 4;
      if ((found.symbol & 15) == 0 && run < 15) break;
      k += run;
      if (k > 63) return JpegDamage::kLongBlock;
      out[kZigzag[k++]] = static_cast<int16_t>(found.value);
    }
    return bits.left() < 0 ? JpegDamage::kEndsEarly : JpegDamage::kNone;
  }

  // Coefficients from `k` on whose codes and values are whole in a window, of the windows in one refill. Whether the
  // block has ended.
  static bool read_short(const Table& table, JpegBits& bits, int& k, int16_t* out) {
    bits.refill();
    for (int i = 0; i < 56 / kCodeWindow; ++i) {
      const Codes codes = table.with_values(bits);
      if (k + codes.advance > 64) return false;
      bits.skip(codes.num_bits & ~kEnds);
      out[kZigzag[k + codes.second_place]] = codes.second;
      out[kZigzag[k + codes.first_place]] = codes.first;
      if ((codes.num_bits & kEnds) != 0) return true;
      k += codes.advance;
    }
    return k > 63;
  }

  const int32_t* quanta_;
  std::vector<Table> tables_;
};

// A component: its blocks in an MCU, the pixels that one of them becomes along an axis, and where the next row of them
// goes.
struct Component {
  int64_t across, down;
  int32_t size;
  int64_t stride;  // bytes
  uint8_t* out;
  Dequantisation by;
};

std::vector<Component> components_of(const JpegScan& scan, const JpegPlanes& planes, uint8_t* out) {
  std::vector<Component> components;
  for (const JpegBlock* block = scan.blocks; block < scan.blocks + scan.num_blocks; ++block) {
    if (block->component < static_cast<int32_t>(components.size())) continue;
    const Dequantisation by(scan.quanta + 64 * block->quantum);
    const int64_t width = 8 * planes.blocks_across(), height = 8 * planes.blocks_down();
    if (components.empty()) {
      const int64_t stride = width * planes.across();
      components.push_back({planes.luma_across, planes.luma_down, planes.luma_size, stride, out, by});
      out += stride * height * planes.down();
    } else {
      components.push_back({1, 1, planes.chroma_size, width, out, by});
      out += width * height;
    }
  }
  return components;
}

// The coefficients of a row of MCUs, and where their pixels go.
class Rows {
 public:
  Rows(const JpegScan& scan, const JpegPlanes& planes, uint8_t* out)
      : num_mcus_(planes.mcus_across), components_(components_of(scan, planes, out)) {
    int64_t begin = 0;
    for (const Component& component : components_) {
      for (int64_t y = 0; y < component.down; ++y, begin += 64 * component.across * num_mcus_)
        for (int64_t x = 0; x < component.across; ++x) places_.push_back({begin + 64 * x, 64 * component.across});
    }
    coefficients_.resize(begin);
  }

  // Of block `i` of the next MCU: zeros.
  int16_t* place(int64_t i) { return coefficients_.data() + places_[i].first + mcu_ * places_[i].step; }

  // Goes to the next MCU; false where a row that is whole now has a coefficient that is too large, or pixels in which
  // decoders may differ.
  bool end_mcu() {
    if (++mcu_ < num_mcus_) return true;
    mcu_ = 0;
    const int16_t* from = coefficients_.data();
    bool is_alike = true;
    for (Component& component : components_) {
      const int64_t count = component.across * num_mcus_;
      for (int64_t y = 0; y < component.down; ++y, from += 64 * count) {
        is_alike &= inverse_dct(component.by, component.size, from, count, component.stride, component.out);
        component.out += component.size * component.stride;
      }
    }
    std::fill(coefficients_.begin(), coefficients_.end(), int16_t{0});
    return is_alike;
  }

 private:
  // Of a block of every MCU in the row, where its coefficients are.
  struct Place {
    int64_t first, step;
  };

  int64_t num_mcus_, mcu_ = 0;
  std::vector<Component> components_;
  std::vector<Place> places_;
  std::vector<int16_t> coefficients_;
};

}  // namespace

bool jpeg_planes(const JpegScan& scan, const JpegPlanes& planes, uint8_t* out) {
  const Blocks blocks(scan);
  Rows rows(scan, planes, out);
  const JpegDamage damage = read_mcus(scan, [&](JpegBits& bits, int64_t* previous) {
    for (int64_t i = 0; i < scan.num_blocks; ++i) {
      const JpegBlock& block = scan.blocks[i];
      const JpegDamage found = blocks.read(block, bits, previous[block.component], rows.place(i));
      if (found != JpegDamage::kNone) return found;
    }
    return rows.end_mcu() ? JpegDamage::kNone : JpegDamage::kLargeValue;
  });
  return damage == JpegDamage::kNone;
}

}  // namespace robocache
