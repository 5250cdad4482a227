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
};

// Writes the planes one behind the other, in rows of whole blocks: of luma 8 * luma_across * mcus_across bytes, of
// chroma 8 * mcus_across. False where the scan is damaged, or has blocks that decoders differ in; `out` then holds
// anything.
bool jpeg_planes(const JpegScan& scan, const JpegPlanes& planes, uint8_t* out);

}  // namespace robocache
