// SPDX-License-Identifier: Apache-2.0
// What of DLPack's C exchange API, version 1, is in use: https://dmlc.github.io/dlpack/latest/c_api.html. torch has it
// from 2.10 on, and it is the same for every torch, as torch's own classes are not.
#pragma once

#include <cstdint>

namespace robocache::dlpack {

constexpr uint32_t kMajorVersion = 1;
constexpr const char* kAttribute = "__dlpack_c_exchange_api__";  // of a type of tensors, a capsule
constexpr const char* kCapsule = "dlpack_exchange_api";

struct Tensor {
  void* data;
  int32_t device_type, device;
  int32_t ndim;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  int64_t *shape, *strides;  // of the tensor itself, as long as it is as it is
  uint64_t byte_offset;
};

struct ExchangeApi {
  uint32_t major_version, minor_version;
  ExchangeApi* older;
  void *allocate, *own, *give;  // not in use
  int (*view)(void* object, Tensor* out);
  void* current_stream;  // not in use
};

}  // namespace robocache::dlpack
