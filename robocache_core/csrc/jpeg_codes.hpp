// SPDX-License-Identifier: Apache-2.0
// The codes of a JPEG's scan, bit by bit: what finding damage and computing pixels share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "jpeg.hpp"

namespace robocache {

constexpr int kMaxJpegComponents = 4;
// What a DCT of 8-bit pixels gives, 1024, and what encoders that overshoot white add.
constexpr int64_t kLargestCoefficient = 1280;
// Bits by which codes are looked up.
constexpr int kCodeWindow = 11;
// Bytes that the codes and values of a block take at most, and those that a refill reads ahead.
constexpr size_t kJpegPadding = 64 * 4 + 16;

inline bool is_large(int64_t value, int32_t quantum) {
  return std::abs(value) * quantum > kLargestCoefficient + quantum;
}

// Bits of bytes that kJpegPadding zeros follow.
class JpegBits {
 public:
  JpegBits(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}

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

// The codes of a table, the short ones in a small one that stays in the cache: an image takes most of its codes there.
class JpegCodes {
 public:
  explicit JpegCodes(const uint16_t* codes) : codes_(codes), short_(1 << kCodeWindow) {
    for (uint32_t window = 0; window < short_.size(); ++window) {
      const uint16_t found = codes[window << (16 - kCodeWindow)];
      short_[window] = found >> 8 <= kCodeWindow ? found : 0;
    }
  }

  // The next code: its length << 8 | its symbol; 0: there is none.
  uint16_t code(const JpegBits& bits) const {
    const uint16_t found = short_[bits.peek(kCodeWindow)];
    return found != 0 ? found : codes_[bits.peek(16)];
  }

 private:
  const uint16_t* codes_;
  std::vector<uint16_t> short_;
};

struct JpegValue {
  int symbol;
  int64_t value;
};

// The number whose `size` bits are `bits`; without a branch, as its sign is nothing that the CPU foresees.
inline int64_t signed_value(int64_t bits, int size) {
  const int64_t is_negative = (bits - (int64_t{1} << size >> 1)) >> 63;
  return bits + (is_negative & (1 - (int64_t{1} << size)));
}

// Reads a code, and the value whose size are the bits `size_mask` of its symbol. Inline, so that `bits` are in
// registers.
inline JpegDamage read_value(const JpegCodes& codes, int size_mask, JpegBits& bits, JpegValue& result) {
  bits.refill();
  const uint16_t found = codes.code(bits);
  const int length = found >> 8, symbol = found & 0xFF, size = symbol & size_mask;
  if (length == 0 || size > 15) return bits.left() < 16 ? JpegDamage::kEndsEarly : JpegDamage::kNoCode;
  bits.skip(length);
  const int64_t value = bits.peek(size);
  bits.skip(size);
  if (bits.left() < 0) return JpegDamage::kEndsEarly;
  result = {symbol, signed_value(value, size)};
  return JpegDamage::kNone;
}

// Numbers of tables and of quantisations that the blocks of a scan name.
struct JpegTableCounts {
  int32_t codes = 0, quanta = 0;

  explicit JpegTableCounts(const JpegScan& scan) {
    for (const JpegBlock* block = scan.blocks; block < scan.blocks + scan.num_blocks; ++block) {
      codes = std::max({codes, block->dc + 1, block->ac + 1});
      quanta = std::max(quanta, block->quantum + 1);
    }
  }
};

// Makes `bytes` those up to the next marker or the end, FF 00 being one, and the padding; returns where that is.
const uint8_t* take_part(const uint8_t* at, const uint8_t* end, std::vector<uint8_t>& bytes);

// Whether nothing but padding is left.
bool is_padding(JpegBits& bits);

// Calls read(bits, previous) for every MCU of a scan, `previous` [kMaxJpegComponents] being 0 at every restart. The
// first damage that it returns, or that is between the MCUs.
template <class Read>
JpegDamage read_mcus(const JpegScan& scan, Read read) {
  std::vector<uint8_t> bytes;
  bytes.reserve(static_cast<size_t>(scan.end - scan.data) + kJpegPadding);
  const uint8_t* at = scan.data;
  const int64_t interval = scan.restart > 0 ? scan.restart : std::max<int64_t>(scan.num_mcus, 1);
  for (int64_t done = 0, number = 0; done < scan.num_mcus; done += interval, ++number) {
    if (number > 0) {
      if (at == scan.end || *at != 0xD0 + (number - 1) % 8) return JpegDamage::kNoRestart;
      ++at;
    }
    at = take_part(at, scan.end, bytes);
    JpegBits bits(bytes.data(), bytes.data() + bytes.size() - kJpegPadding);
    int64_t previous[kMaxJpegComponents] = {};
    for (int64_t mcu = std::min(interval, scan.num_mcus - done); mcu > 0; --mcu) {
      const JpegDamage damage = read(bits, previous);
      if (damage != JpegDamage::kNone) return damage;
    }
    if (!is_padding(bits)) return JpegDamage::kLeftOver;
    while (at < scan.end && (*at == 0 || *at == 0xFF)) ++at;
    const bool is_restart = at < scan.end && *at >= 0xD0 && *at <= 0xD7 && at[-1] == 0xFF;
    if (at < scan.end && !is_restart) return JpegDamage::kLeftOver;
  }
  return at == scan.end ? JpegDamage::kNone : JpegDamage::kLeftOver;
}

}  // namespace robocache
