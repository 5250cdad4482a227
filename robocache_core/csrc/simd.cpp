// SPDX-License-Identifier: Apache-2.0
#include "simd.hpp"

#include <cstdlib>
#include <stdexcept>

namespace robocache {
namespace {

Simd best_level() {
#if RC_X86
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) {
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vbmi");
    return avx512 ? Simd::kAvx512 : Simd::kAvx2;
  }
#endif
  return Simd::kDefault;
}

Simd demanded_level() {
  const char* const demanded = std::getenv("ROBOCACHE_SIMD");
  const Simd best = best_level();
  if (demanded == nullptr || *demanded == '\0') return best;
  for (const Simd level : {Simd::kDefault, Simd::kAvx2, Simd::kAvx512}) {
    if (simd_name(level) != demanded) continue;
    if (level <= best) return level;
    throw std::runtime_error("ROBOCACHE_SIMD=" + std::string(demanded) + ": this CPU has " + simd_name(best));
  }
  throw std::runtime_error("ROBOCACHE_SIMD=" + std::string(demanded) + ": must be default, avx2 or avx512");
}

}  // namespace

std::string simd_name(Simd level) {
  return level == Simd::kDefault ? "default" : level == Simd::kAvx2 ? "avx2" : "avx512";
}

Simd simd_level() {
  static const Simd level = demanded_level();
  return level;
}

}  // namespace robocache
