// SPDX-License-Identifier: Apache-2.0
// Records (a key and some words) brought in order of key by the pool, in scratch memory that is kept.
//
// Parts of the input are written side by side. The upper bits of the keys then split the records into groups that fit
// a core's cache, and each group is sorted alone. Records of one key come in any order.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"

namespace robocache {

class RecordSort {
 public:
  // Records of neighbouring keys; every key is in one group.
  struct Group {
    int64_t begin, size;
    uint32_t first_key;
    uint32_t last_key;
    int64_t num_keys;  // different ones
  };

  // Makes room for `capacity` records of `num_words` words, with keys below `bound`, from `max_threads` threads.
  void start(int64_t capacity, int num_words, uint64_t bound, int max_threads);

  // Part p takes at most part_begin(p + 1) - part_begin(p) records, to be written by one thread to keys(p) and
  // words(p) [size, num_words]; `finish_part` then takes how many there are.
  int num_parts() const { return num_parts_; }
  int64_t part_begin(int part) const { return capacity_ * part / num_parts_; }
  uint32_t* keys(int part) { return keys_.data() + part_begin(part); }
  int32_t* words(int part) { return words_.data() + part_begin(part) * num_words_; }
  void finish_part(int part, int64_t size);

  // Sorts the records of all parts.
  void sort();

  // The result: groups in order of key; the keys [size] and words [size, num_words] of a group, in order of key.
  const std::vector<Group>& groups() const { return groups_; }
  const uint32_t* sorted_keys(const Group& group) const { return group_keys_ + group.begin; }
  const int32_t* sorted_words(const Group& group) const { return group_words_ + group.begin * num_words_; }

 private:
  struct ThreadScratch {
    Buffer<uint64_t> pairs, other;  // key - first key << 32 | number in the group
    Buffer<int32_t> words;          // of a group
    Buffer<uint32_t> counts;        // [pass, digit]
  };

  void form_groups();
  template <int kNumWords>
  void scatter_part(int part);
  template <int kNumWords>
  void sort_group(Group& group, ThreadScratch& scratch);

  int64_t capacity_ = 0, num_records_ = 0;
  int num_words_ = 0, num_parts_ = 0, max_threads_ = 1;
  int shift_ = 0;  // of a key to its bin
  int64_t num_bins_ = 0;

  Buffer<uint32_t> keys_, other_keys_;
  Buffer<int32_t> words_, other_words_;
  std::vector<int64_t> part_sizes_;
  Buffer<uint32_t> counts_;         // [part, bin]
  Buffer<uint32_t> cursors_;        // [part, group]: where the part's next record goes
  std::vector<uint16_t> group_of_;  // [bin]
  std::vector<Group> groups_;
  uint32_t* group_keys_ = nullptr;
  int32_t* group_words_ = nullptr;

  std::vector<ThreadScratch> threads_;
};

}  // namespace robocache
