// SPDX-License-Identifier: Apache-2.0
#include "jpeg_codes.hpp"

#include <cstring>

namespace robocache {

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
  bytes.insert(bytes.end(), kJpegPadding, 0);
  return at;
}

bool is_padding(JpegBits& bits) {
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

}  // namespace robocache
