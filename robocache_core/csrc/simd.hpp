// SPDX-License-Identifier: Apache-2.0
// Which vector instructions the CPU's loops use. Results do not depend on it.
#pragma once

#include <string>

#if defined(__x86_64__) && defined(__GNUC__)
#define RC_X86 1
#define RC_TARGET_AVX2 __attribute__((target("avx2,f16c")))
#define RC_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,f16c")))
#else
#define RC_X86 0
#endif

namespace robocache {

enum class Simd { kDefault, kAvx2, kAvx512 };

// What the environment's ROBOCACHE_SIMD (default, avx2, avx512) says, else the best that this CPU has; read once.
// Throws std::runtime_error where it names no level, or one that this CPU does not have.
Simd simd_level();

std::string simd_name(Simd level);

// A loop compiled for every level: Loop::run(args...), with what it calls inlined into each copy.
template <class Loop, class... Args>
struct LevelsOf {
  __attribute__((flatten)) static void base(Args... args) { Loop::run(args...); }
#if RC_X86
  __attribute__((flatten)) RC_TARGET_AVX2 static void avx2(Args... args) { Loop::run(args...); }
  __attribute__((flatten)) RC_TARGET_AVX512 static void avx512(Args... args) { Loop::run(args...); }
#endif
};

template <class Loop, class... Args>
inline void run_at(Simd level, Args... args) {
#if RC_X86
  if (level == Simd::kAvx512) return LevelsOf<Loop, Args...>::avx512(args...);
  if (level == Simd::kAvx2) return LevelsOf<Loop, Args...>::avx2(args...);
#endif
  (void)level;
  LevelsOf<Loop, Args...>::base(args...);
}

}  // namespace robocache
