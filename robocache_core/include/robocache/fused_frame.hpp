// SPDX-License-Identifier: Apache-2.0
// Reads what the node publishes on ~/fused, in C++17, with nothing but the standard library:
//
//     void on_message(const std_msgs::msg::UInt8MultiArray& message) {
//       const auto frame = robocache::read(message.data.data(), message.data.size());
//       const robocache::Tensor& image = frame.tensors.at("front");  // image.shape, image.dtype, image.data
//     }
//
// docs/message.md describes the bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "robocache/json.hpp"

namespace robocache {

// The schema that this reader knows.
constexpr std::int64_t kSchema = 1;

// A tensor, row-major; its data are those of the message, which must outlive it.
struct Tensor {
  std::string dtype;  // as safetensors names it: BOOL U8 I8 I16 I32 I64 F16 BF16 F32 F64
  std::vector<std::int64_t> shape;
  const std::uint8_t* data;
  std::size_t nbytes;
};

// What the robot sensed at one instant.
struct FusedFrame {
  std::int64_t stamp_ns;                                    // the target: the instant that all tensors are of
  std::int64_t epoch;                                       // grows where time jumped back
  std::int64_t sequence;                                    // of the frame, from 0; what is missing was lost on the way
  std::string frame_id;                                     // the coordinate frame of points and motion
  std::map<std::string, bool> valid;                        // by stream
  std::map<std::string, std::int64_t> age_ns;               // by stream: its sample is older than the target by so much
  std::map<std::string, std::vector<std::string>> columns;  // of vectors, by stream
  std::map<std::string, Tensor> tensors;
};

namespace detail {

inline std::int64_t item_size(const std::string& dtype) {
  static const std::map<std::string, std::int64_t> kSizes = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"I16", 2},
                                                             {"I32", 4},  {"I64", 8}, {"F16", 2}, {"BF16", 2},
                                                             {"F32", 4},  {"F64", 8}};
  const auto found = kSizes.find(dtype);
  if (found == kSizes.end()) refuse("dtype " + dtype);
  return found->second;
}

inline const Json& member(const Json::Object& object, const std::string& name) {
  const auto found = object.find(name);
  if (found == object.end()) refuse("no " + name);
  return found->second;
}

// Bytes of a tensor; the product of its sizes without those of 0, from which strides are made, fits in 64 bits too.
inline std::int64_t num_bytes(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t item) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  std::int64_t nbytes = item;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || nbytes > kMost / std::max<std::int64_t>(extent, 1)) refuse(name + ": no tensor has its shape");
    nbytes *= std::max<std::int64_t>(extent, 1);
  }
  return std::find(shape.begin(), shape.end(), 0) == shape.end() ? nbytes : 0;
}

inline Tensor tensor(const std::string& name, const Json& entry, const std::uint8_t* data, std::size_t size) {
  const auto& members = entry.as<Json::Object>(name);
  const auto& offsets = member(members, "data_offsets").as<Json::Array>(name);
  if (offsets.size() != 2) refuse(name + ": data_offsets");
  const auto begin = offsets[0].as<std::int64_t>(name), end = offsets[1].as<std::int64_t>(name);
  if (begin < 0 || end < begin || static_cast<std::uint64_t>(end) > size) refuse(name + ": data_offsets");
  Tensor made{member(members, "dtype").as<std::string>(name), {}, data + begin, static_cast<std::size_t>(end - begin)};
  for (const Json& extent : member(members, "shape").as<Json::Array>(name))
    made.shape.push_back(extent.as<std::int64_t>(name));
  if (num_bytes(name, made.shape, item_size(made.dtype)) != end - begin)
    refuse(name + ": its shape does not fit its bytes");
  if (made.dtype == "BOOL" &&
      std::any_of(made.data, made.data + made.nbytes, [](std::uint8_t byte) { return byte > 1; }))
    refuse(name + ": a bool that is neither 0 nor 1");
  return made;
}

// Refuse tensors that share bytes, or leave some of the `size` bytes at `data` to none.
inline void check_covered(const std::map<std::string, Tensor>& tensors, const std::uint8_t* data, std::size_t size) {
  std::vector<std::pair<std::size_t, std::size_t>> spans;
  for (const auto& each : tensors)
    spans.emplace_back(static_cast<std::size_t>(each.second.data - data), each.second.nbytes);
  std::sort(spans.begin(), spans.end());
  std::size_t end = 0;
  for (const auto& [begin, nbytes] : spans) {
    if (begin != end) refuse("tensors overlap or leave a gap at byte " + std::to_string(std::min(begin, end)));
    end += nbytes;
  }
  if (end != size) refuse(std::to_string(size) + " bytes of data, the tensors take " + std::to_string(end));
}

template <class T>
std::map<std::string, T> by_stream(const Json::Object& metadata, const std::string& name) {
  std::map<std::string, T> found;
  const Json json = JsonParser(member(metadata, name).as<std::string>(name)).parse();
  for (const auto& [stream, value] : json.as<Json::Object>(name)) found.emplace(stream, value.template as<T>(name));
  return found;
}

inline std::int64_t integer(const Json::Object& metadata, const std::string& name) {
  return JsonParser(member(metadata, name).as<std::string>(name)).parse().as<std::int64_t>(name);
}

}  // namespace detail

// The frame in the `size` bytes at `data`; throws std::runtime_error where they are none, whatever they are.
inline FusedFrame read(const std::uint8_t* data, std::size_t size) {
  std::uint64_t length = 0;
  if (size < 8) detail::refuse(std::to_string(size) + " bytes");
  for (int i = 7; i >= 0; --i) length = length << 8 | data[i];
  if (length > size - 8) detail::refuse("a header of " + std::to_string(length) + " bytes");
  const Json header = JsonParser({reinterpret_cast<const char*>(data) + 8, static_cast<std::size_t>(length)}).parse();
  const std::uint8_t* body = data + 8 + length;
  const std::size_t body_size = size - 8 - static_cast<std::size_t>(length);

  const auto& entries = header.as<Json::Object>("the header");
  const auto& metadata = detail::member(entries, "__metadata__").as<Json::Object>("__metadata__");
  if (const auto schema = detail::integer(metadata, "robocache_schema"); schema != kSchema)
    detail::refuse("schema " + std::to_string(schema) + ", this reader knows " + std::to_string(kSchema));

  FusedFrame frame;
  frame.stamp_ns = detail::integer(metadata, "stamp_ns");
  frame.epoch = detail::integer(metadata, "epoch");
  frame.sequence = detail::integer(metadata, "sequence");
  frame.frame_id = detail::member(metadata, "frame_id").as<std::string>("frame_id");
  frame.valid = detail::by_stream<bool>(metadata, "valid");
  frame.age_ns = detail::by_stream<std::int64_t>(metadata, "age_ns");
  if (metadata.count("columns"))
    for (const auto& [stream, names] : detail::by_stream<Json::Array>(metadata, "columns"))
      for (const Json& name : names) frame.columns[stream].push_back(name.as<std::string>("columns"));
  for (const auto& [name, entry] : entries)
    if (name != "__metadata__") frame.tensors.emplace(name, detail::tensor(name, entry, body, body_size));
  detail::check_covered(frame.tensors, body, body_size);
  return frame;
}

}  // namespace robocache
