// SPDX-License-Identifier: Apache-2.0
#include "jpeg.hpp"

#include <algorithm>
#include <cstdlib>

namespace robocache {
namespace {

constexpr int kMaxComponents = 4;
constexpr int64_t kLargest =
    1280;  // what a DCT of 8-bit pixels gives, 1024, and what encoders that overshoot white add

// Bits up to the next marker; beyond it there are zeros.
class Bits {
 public:
  Bits(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}

  // The next `count` <= 16 bits.
  uint32_t peek(int count) {
    if (held_ < 16) fill();
    return count == 0 ? 0 : static_cast<uint32_t>(bits_ >> (64 - count));
  }

  void skip(int count) {
    bits_ <<= count;
    held_ -= count;
  }

  // Whether more was skipped than there is.
  bool overdrawn() const { return held_ < missing_; }

  // Whether fewer than `count` bits are left.
  bool has_fewer(int count) const { return held_ - missing_ < count; }

  // Goes to the marker, or the end; false where there is more than padding up to it.
  bool finish(const uint8_t** marker) {
    const int held = held_ - missing_, padding = held % 8;
    const uint32_t bits = peek(padding);
    if (bits != 0 && bits != (1u << padding) - 1) return false;
    skip(padding);
    for (int left = held - padding; left > 0; left -= 8) {
      const uint32_t byte = static_cast<uint32_t>(bits_ >> 56);
      if (byte != 0 && byte != 0xFF) return false;
      skip(8);
    }
    while (at_ < end_ && (*at_ == 0 || *at_ == 0xFF)) ++at_;
    const bool is_restart = at_ < end_ && *at_ >= 0xD0 && *at_ <= 0xD7 && at_[-1] == 0xFF;
    *marker = at_;
    return at_ == end_ || is_restart;
  }

 private:
  void fill() {
    while (held_ <= 56) {
      uint64_t byte = 0;
      if (at_ < end_ && (*at_ != 0xFF || (at_ + 1 < end_ && at_[1] == 0))) {
        byte = *at_;
        at_ += byte == 0xFF ? 2 : 1;
      } else {
        missing_ += 8;
      }
      bits_ |= byte << (56 - held_);
      held_ += 8;
    }
  }

  const uint8_t* at_;
  const uint8_t* end_;
  uint64_t bits_ = 0;
  int held_ = 0;
  int64_t missing_ = 0;
};

JpegDamage read_block(const JpegScan& scan, const JpegBlock& block, Bits& bits, int64_t& previous) {
  const int32_t* quanta = scan.quanta + 64 * block.quantum;
  for (int k = 0; k < 64; ++k) {
    const uint16_t* codes = scan.codes + (int64_t{k == 0 ? block.dc : block.ac} << 16);
    const uint16_t found = codes[bits.peek(16)];
    const int length = found >> 8, symbol = found & 0xFF;
    const int run = k == 0 ? 0 : symbol >> 4, size = k == 0 ? symbol : symbol & 15;
    if (length == 0 || size > 15) return bits.has_fewer(16) ? JpegDamage::kEndsEarly : JpegDamage::kNoCode;
    bits.skip(length);
    int64_t value = bits.peek(size);
    bits.skip(size);
    if (bits.overdrawn()) return JpegDamage::kEndsEarly;
    if (size > 0 && value < int64_t{1} << (size - 1)) value += 1 - (int64_t{1} << size);
    if (k == 0) {
      value = previous += value;
    } else if (size == 0 && run < 15) {
      return JpegDamage::kNone;
    }
    k += run;
    if (k > 63) return JpegDamage::kLongBlock;
    if (std::abs(value) * quanta[k] > kLargest + quanta[k]) return JpegDamage::kLargeValue;
  }
  return JpegDamage::kNone;
}

}  // namespace

JpegDamage jpeg_damage(const JpegScan& scan) {
  const uint8_t* at = scan.data;
  const int64_t interval = scan.restart > 0 ? scan.restart : std::max<int64_t>(scan.num_mcus, 1);
  for (int64_t done = 0, number = 0; done < scan.num_mcus; done += interval, ++number) {
    if (number > 0) {
      if (at == scan.end || *at != 0xD0 + (number - 1) % 8) return JpegDamage::kNoRestart;
      ++at;
    }
    Bits bits(at, scan.end);
    int64_t previous[kMaxComponents] = {};
    for (int64_t mcu = std::min(interval, scan.num_mcus - done); mcu > 0; --mcu) {
      for (int64_t i = 0; i < scan.num_blocks; ++i) {
        const JpegBlock& block = scan.blocks[i];
        const JpegDamage damage = read_block(scan, block, bits, previous[block.component]);
        if (damage != JpegDamage::kNone) return damage;
      }
    }
    if (!bits.finish(&at)) return JpegDamage::kLeftOver;
  }
  return at == scan.end ? JpegDamage::kNone : JpegDamage::kLeftOver;
}

}  // namespace robocache
