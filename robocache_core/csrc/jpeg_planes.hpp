// SPDX-License-Identifier: Apache-2.0
// The planes of a JPEG: its luma and chroma as the transform gives them, neither brought to one size nor made colours.
#pragma once

#include <cstdint>

#include "jpeg.hpp"

namespace robocache {

// An image whose components all come in one scan, the chroma once for `luma_across` x `luma_down` blocks of luma.
struct JpegPlanes {
  int64_t mcus_across, mcus_down;
  int32_t luma_across, luma_down;  // blocks of the first component in an MCU; of the others there is one
  int32_t num_planes;              // 1 or 3
  int32_t luma_size, chroma_size;  // pixels that a block becomes, along an axis: 8, or 4, 2 or 1 of a reduced image

  // Pixels of luma for one of chroma.
  int64_t across() const { return luma_across * luma_size / chroma_size; }
  int64_t down() const { return luma_down * luma_size / chroma_size; }

  // Blocks of 8 x 8 pixels of chroma that all MCUs reach into.
  int64_t blocks_across() const { return (mcus_across * chroma_size + 7) / 8; }
  int64_t blocks_down() const { return (mcus_down * chroma_size + 7) / 8; }
};

// Writes the planes one behind the other, in rows of whole blocks of 8 x 8: of luma 8 * across() * blocks_across()
// bytes, of chroma 8 * blocks_across(). Beyond the last MCU `out` stays as it is. False where the scan is damaged, or
// has blocks that decoders differ in; `out` then holds anything.
bool jpeg_planes(const JpegScan& scan, const JpegPlanes& planes, uint8_t* out);

}  // namespace robocache
