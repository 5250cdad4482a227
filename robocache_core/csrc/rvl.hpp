// SPDX-License-Identifier: Apache-2.0
// RVL, a lossless code of depth images (Wilson, "Fast Lossless Depth Image Compression", 2017).
//
// The data are words of 32 bits, little-endian, that hold nibbles, the highest first. A number is 3 bits a nibble, the
// lowest first; the 4th bit of a nibble says that another one follows. An image is runs, until it is full: how many
// pixels are 0, how many after them are not, and of each of those the difference to the one before it that is not 0,
// its sign in the lowest bit.
#pragma once

#include <cstdint>

namespace robocache {

// Whether the data hold an image of num_pixels; what they hold of it is in `pixels`. Bytes behind the image are
// ignored.
bool decode_rvl(const uint8_t* data, int64_t nbytes, int64_t num_pixels, uint16_t* pixels);

}  // namespace robocache
