// SPDX-License-Identifier: Apache-2.0
// Prints the fused frame in each file, or why it is none.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include "robocache/fused_frame.hpp"

static void print(const robocache::FusedFrame& frame) {
  std::printf("stamp_ns %lld\nepoch %lld\nsequence %lld\nframe_id %s\n", static_cast<long long>(frame.stamp_ns),
              static_cast<long long>(frame.epoch), static_cast<long long>(frame.sequence), frame.frame_id.c_str());
  for (const auto& [name, valid] : frame.valid) std::printf("valid %s %d\n", name.c_str(), valid);
  for (const auto& [name, age] : frame.age_ns)
    std::printf("age_ns %s %lld\n", name.c_str(), static_cast<long long>(age));
  for (const auto& [name, columns] : frame.columns)
    for (const auto& column : columns) std::printf("column %s %s\n", name.c_str(), column.c_str());
  for (const auto& [name, tensor] : frame.tensors) {
    std::printf("tensor %s %s", name.c_str(), tensor.dtype.c_str());
    for (const auto extent : tensor.shape) std::printf(" %lld", static_cast<long long>(extent));
    std::printf(" :");
    for (std::size_t i = 0; i < tensor.nbytes; ++i) std::printf("%02x", tensor.data[i]);
    std::printf("\n");
  }
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    try {
      print(robocache::read(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
    } catch (const std::runtime_error& error) {
      std::printf("refused %s\n", error.what());
    }
    std::printf("end\n");
  }
}
