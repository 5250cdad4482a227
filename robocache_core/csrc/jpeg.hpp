// SPDX-License-Identifier: Apache-2.0
// The codes of a JPEG's scan, read without computing a pixel: whether they are what an encoder wrote.
#pragma once

#include <cstdint>

namespace robocache {

// In the order of `DAMAGES` in robocache_core/jpeg.py.
enum class JpegDamage : int { kNone, kNoCode, kLongBlock, kLargeValue, kEndsEarly, kLeftOver, kNoRestart };

// A block of an MCU: its component's place in the scan, and the tables of its codes and of its quantisation.
struct JpegBlock {
  int32_t component, dc, ac, quantum;
};

// See ScanPlan in robocache_core/jpeg.py. `data` to `end` hold no marker but restarts and fill bytes.
struct JpegScan {
  const uint8_t* data;
  const uint8_t* end;
  int64_t num_mcus, restart;
  const JpegBlock* blocks;
  int64_t num_blocks;
  const uint16_t* codes;
  const int32_t* quanta;
};

// The first damage in a scan.
JpegDamage jpeg_damage(const JpegScan& scan);

}  // namespace robocache
