// SPDX-License-Identifier: Apache-2.0
//
// GCC's AddressSanitizer has functions of libFuzzer's names that do nothing, and is loaded before it. This is loaded
// before both, and forwards what atheris calls of them to libFuzzer, whose file ROBOCACHE_LIBFUZZER names.

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>

namespace {

template <typename Function>
Function* OfLibFuzzer(const char* name) {
  void* library = dlopen(std::getenv("ROBOCACHE_LIBFUZZER"), RTLD_LAZY | RTLD_NOLOAD);
  return library ? reinterpret_cast<Function*>(dlsym(library, name)) : nullptr;
}

}  // namespace

// Nothing behind the call, so that it is a jump: libFuzzer takes the place of a comparison from the return address.
#define FORWARD(name, type)                                             \
  extern "C" void name(type first, type second) {                       \
    static auto* const function = OfLibFuzzer<void(type, type)>(#name); \
    function(first, second);                                            \
  }

FORWARD(__sanitizer_cov_8bit_counters_init, std::uint8_t*)
FORWARD(__sanitizer_cov_pcs_init, const std::uintptr_t*)
FORWARD(__sanitizer_cov_trace_cmp8, std::uint64_t)
FORWARD(__sanitizer_cov_trace_const_cmp8, std::uint64_t)
