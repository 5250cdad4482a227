// SPDX-License-Identifier: Apache-2.0
#include "rvl.hpp"

#include <algorithm>

namespace robocache {
namespace {

constexpr int64_t kNone = -1;

class Numbers {
 public:
  Numbers(const uint8_t* data, int64_t nbytes) : data_(data), num_nibbles_(nbytes / 4 * 8) {}

  // kNone at the end of the data, and where the number has more than 33 bits, which no image needs.
  int64_t next() {
    int64_t number = 0;
    for (int shift = 0; shift <= 30 && at_ < num_nibbles_; shift += 3) {
      const int64_t in_word = at_ % 8;
      const int nibble = data_[at_ / 8 * 4 + 3 - in_word / 2] >> (in_word % 2 == 0 ? 4 : 0);
      ++at_;
      number |= int64_t{nibble & 7} << shift;
      if ((nibble & 8) == 0) return number;
    }
    return kNone;
  }

 private:
  const uint8_t* data_;
  int64_t num_nibbles_, at_ = 0;
};

}  // namespace

bool decode_rvl(const uint8_t* data, int64_t nbytes, int64_t num_pixels, uint16_t* pixels) {
  Numbers numbers(data, nbytes);
  int64_t value = 0;
  for (int64_t at = 0; at < num_pixels;) {
    const int64_t zeros = numbers.next(), others = numbers.next();
    if (zeros < 0 || others < 0 || zeros + others == 0 || zeros + others > num_pixels - at) return false;
    std::fill_n(pixels + at, zeros, uint16_t{0});
    at += zeros;
    for (const int64_t end = at + others; at < end; ++at) {
      const int64_t difference = numbers.next();
      value += (difference >> 1) ^ -(difference & 1);
      if (difference == kNone || value < 1 || value > UINT16_MAX) return false;
      pixels[at] = static_cast<uint16_t>(value);
    }
  }
  return true;
}

}  // namespace robocache
