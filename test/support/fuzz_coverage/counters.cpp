// SPDX-License-Identifier: Apache-2.0
//
// Counts what ran of the compiled module, for libFuzzer: GCC calls a function at every edge, where Clang counts in
// place.

#include <cstddef>
#include <cstdint>

constexpr std::size_t kCounters = 1 << 16;

extern "C" {

__attribute__((visibility("default"))) std::uint8_t robocache_fuzz_counters[kCounters];

// Hidden, since the sanitizers' own runtime has one of this name that does nothing.
__attribute__((visibility("hidden"))) void __sanitizer_cov_trace_pc() {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const auto base = reinterpret_cast<std::uintptr_t>(robocache_fuzz_counters);
  ++robocache_fuzz_counters[(here - base) * 0x9E3779B97F4A7C15ull >> 48];  // places do not depend on where it is loaded
}
}
