// SPDX-License-Identifier: Apache-2.0
// What was checked of an operation's last calls, so that the next call that is the same in all that was checked goes
// ahead with what was made of it then.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <vector>

#include "dlpack.hpp"

namespace robocache {

// What an operation checks of a tensor. One that is negated or requires a gradient has none.
struct TensorFacts {
  int32_t device_type, device, type, ndim;
  int64_t shape[4], strides[4];

  bool operator==(const TensorFacts& other) const;
};

class CheckedCalls {
 public:
  // Of tensors of this type.
  explicit CheckedCalls(pybind11::type tensor_type);

  // What was remembered of a call with such tensors and such settings, else None. tensors: of any depth of tuples and
  // lists; None stays None. They are such where type, dtype, device, shape and strides are the same.
  pybind11::object find(const pybind11::tuple& tensors, const pybind11::tuple& settings);

  // Remembers a call that has passed its checks, and what was made of it, in the place of the one that was found
  // longest ago. Calls whose tensors or settings cannot be compared at once are not remembered and are checked each
  // time: on a torch without the exchange API, tensors of a derived type or more than four dimensions, settings that
  // could change where they are.
  void remember(const pybind11::tuple& tensors, const pybind11::tuple& settings, pybind11::object made);

 private:
  struct Call {
    std::vector<TensorFacts> tensors;
    pybind11::object settings, made;
  };

  bool read(pybind11::handle value, std::vector<TensorFacts>* facts) const;
  bool read_tensor(pybind11::handle tensor, std::vector<TensorFacts>* facts) const;

  pybind11::type tensor_type_;
  const dlpack::ExchangeApi* api_ = nullptr;
  std::vector<Call> calls_;  // the last that was found comes first
};

}  // namespace robocache
