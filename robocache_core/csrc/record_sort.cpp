// SPDX-License-Identifier: Apache-2.0
#include "record_sort.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "pool.hpp"

namespace robocache {
namespace {

constexpr int kBinBits = 11;              // of a key, by which groups are formed
constexpr int kDigitBits = 12;            // at most, of a pass over a group
constexpr int64_t kGroupSize = 1 << 14;   // records about, which stay in a core's second-level cache
constexpr int64_t kLeastGroup = 1 << 12;  // records that are worth their own histograms
constexpr int64_t kLeastPart = 1 << 12;

int bit_length(uint64_t value) {
  int bits = 0;
  for (; value != 0; value >>= 1) ++bits;
  return bits;
}

// Calls work(n) with the number of words as a constant where that pays.
template <class Work>
void with_num_words(int num_words, Work work) {
  switch (num_words) {
    case 2:
      return work(std::integral_constant<int, 2>{});
    case 3:
      return work(std::integral_constant<int, 3>{});
    case 4:
      return work(std::integral_constant<int, 4>{});
    case 5:
      return work(std::integral_constant<int, 5>{});
    default:
      return work(std::integral_constant<int, -1>{});
  }
}

// How many passes sort `size` keys of `bits` bits soonest: a pass costs each record and, less, each digit a step.
int choose_passes(int bits, int64_t size) {
  int best = 0;
  int64_t best_cost = INT64_MAX;
  for (int passes = (bits + kDigitBits - 1) / kDigitBits; passes <= 4; ++passes) {
    const int digit_bits = passes == 0 ? 0 : (bits + passes - 1) / passes;
    const int64_t cost = passes * (3 * size + (int64_t{1} << digit_bits));
    if (cost < best_cost) best = passes;
    best_cost = std::min(best_cost, cost);
  }
  return best;
}

}  // namespace

void RecordSort::start(int64_t capacity, int num_words, uint64_t bound, int max_threads) {
  capacity_ = capacity;
  num_words_ = num_words;
  max_threads_ = max_threads;
  num_parts_ = max_threads == 1 ? 1 : static_cast<int>(std::clamp<int64_t>(capacity / kLeastPart, 1, 4 * max_threads));
  shift_ = std::max(0, bit_length(bound - 1) - kBinBits);
  num_bins_ = static_cast<int64_t>((bound - 1) >> shift_) + 1;

  const size_t records = static_cast<size_t>(capacity);
  keys_.reserve(records);
  other_keys_.reserve(records);
  words_.reserve(records * num_words);
  other_words_.reserve(records * num_words);
  constexpr size_t kBins = size_t{1} << kBinBits;
  counts_.reserve(num_parts_ * kBins);
  cursors_.reserve(num_parts_ * kBins);
  part_sizes_.resize(num_parts_);
  group_of_.resize(kBins);
  groups_.reserve(kBins);
  if (threads_.size() < static_cast<size_t>(max_threads)) threads_.resize(max_threads);
  for (int t = 0; t < max_threads; ++t) {
    threads_[t].pairs.reserve(records);
    threads_[t].other.reserve(records);
    threads_[t].words.reserve(records * num_words);
    threads_[t].counts.reserve(size_t{4} << kDigitBits);
  }
}

void RecordSort::finish_part(int part, int64_t size) {
  part_sizes_[part] = size;
  uint32_t* const counts = counts_.data() + part * num_bins_;
  std::fill_n(counts, num_bins_, 0);
  const uint32_t* const keys = this->keys(part);
  for (int64_t i = 0; i < size; ++i) ++counts[keys[i] >> shift_];
}

void RecordSort::form_groups() {
  num_records_ = 0;
  for (const int64_t size : part_sizes_) num_records_ += size;
  // On several threads, enough groups that they end at about the same time.
  const int64_t share = max_threads_ == 1 ? kGroupSize : num_records_ / (6 * max_threads_);
  const int64_t wanted = std::clamp(share, kLeastGroup, kGroupSize);

  groups_.clear();
  Group group{};
  for (int64_t bin = 0; bin < num_bins_; ++bin) {
    int64_t count = 0;
    for (int part = 0; part < num_parts_; ++part) count += counts_.data()[part * num_bins_ + bin];
    if (count != 0) {
      if (group.size == 0) group.first_key = static_cast<uint32_t>(bin << shift_);
      group.last_key = static_cast<uint32_t>(((bin + 1) << shift_) - 1);
      group.size += count;
    }
    group_of_[bin] = static_cast<uint16_t>(groups_.size());
    if (group.size >= wanted || (bin + 1 == num_bins_ && group.size > 0)) {
      groups_.push_back(group);
      group = {group.begin + group.size, 0, 0, 0, 0};
    }
  }
}

void RecordSort::sort() {
  form_groups();
  const int64_t num_groups = static_cast<int64_t>(groups_.size());
  group_keys_ = keys_.data();
  group_words_ = words_.data();
  if (num_parts_ > 1 || num_groups > 1) {
    std::fill_n(cursors_.data(), num_parts_ * num_groups, 0);
    for (int part = 0; part < num_parts_; ++part)
      for (int64_t bin = 0; bin < num_bins_; ++bin) {
        const uint32_t count = counts_.data()[part * num_bins_ + bin];
        if (count != 0) cursors_.data()[part * num_groups + group_of_[bin]] += count;
      }
    for (int64_t g = 0; g < num_groups; ++g) {
      uint32_t next = static_cast<uint32_t>(groups_[g].begin);
      for (int part = 0; part < num_parts_; ++part) next += std::exchange(cursors_.data()[part * num_groups + g], next);
    }
    group_keys_ = other_keys_.data();
    group_words_ = other_words_.data();
    const auto body = [&](int64_t begin, int64_t end, int) {
      for (int64_t part = begin; part < end; ++part)
        with_num_words(num_words_, [&](auto n) { scatter_part<n.value>(static_cast<int>(part)); });
    };
    parallel_for(num_parts_, 1, body, max_threads_);
  }
  const auto body = [&](int64_t begin, int64_t end, int thread) {
    for (int64_t g = begin; g < end; ++g)
      with_num_words(num_words_, [&](auto n) { sort_group<n.value>(groups_[g], threads_[thread]); });
  };
  parallel_for(num_groups, 1, body, max_threads_);
}

template <int kNumWords>
void RecordSort::scatter_part(int part) {
  const int num_words = kNumWords >= 0 ? kNumWords : num_words_;  // the compiler knows how many, or it does not
  const uint32_t* const keys = this->keys(part);
  const int32_t* const words = this->words(part);
  uint32_t* const cursors = cursors_.data() + part * static_cast<int64_t>(groups_.size());
  for (int64_t i = 0; i < part_sizes_[part]; ++i) {
    const uint32_t key = keys[i];
    const int64_t to = cursors[group_of_[key >> shift_]]++;
    group_keys_[to] = key;
    for (int k = 0; k < num_words; ++k) group_words_[to * num_words + k] = words[i * num_words + k];
  }
}

// A stable radix sort from the lowest digit up of the keys alone; the words follow at the end.
template <int kNumWords>
void RecordSort::sort_group(Group& group, ThreadScratch& scratch) {
  const int num_words = kNumWords >= 0 ? kNumWords : num_words_;
  const int bits = bit_length(group.last_key - group.first_key);
  const int passes = choose_passes(bits, group.size);
  const int digit_bits = passes == 0 ? 0 : (bits + passes - 1) / passes;
  const uint32_t digits = 1u << digit_bits, mask = digits - 1;
  uint32_t* const keys = group_keys_ + group.begin;
  int32_t* const words = group_words_ + group.begin * num_words;
  const uint32_t size = static_cast<uint32_t>(group.size);
  uint32_t* const counts = scratch.counts.data();
  uint64_t *from = scratch.pairs.data(), *to = scratch.other.data();

  std::fill_n(counts, passes * digits, 0);
  for (uint32_t i = 0; i < size; ++i) {
    const uint32_t key = keys[i] - group.first_key;
    from[i] = static_cast<uint64_t>(key) << 32 | i;
    for (int pass = 0; pass < passes; ++pass) ++counts[pass * digits + ((key >> (pass * digit_bits)) & mask)];
  }
  for (int pass = 0; pass < passes; ++pass) {
    uint32_t* const next = counts + pass * digits;
    uint32_t sum = 0;
    for (uint32_t d = 0; d < digits; ++d) sum += std::exchange(next[d], sum);
    const int shift = 32 + pass * digit_bits;
    for (uint32_t i = 0; i < size; ++i) to[next[(from[i] >> shift) & mask]++] = from[i];
    std::swap(from, to);
  }
  int32_t* const sorted = scratch.words.data();
  uint32_t last = ~0u;
  group.num_keys = 0;
  for (uint32_t i = 0; i < size; ++i) {
    const uint32_t key = static_cast<uint32_t>(from[i] >> 32);
    const int64_t number = static_cast<uint32_t>(from[i]);
    group.num_keys += key != last;
    last = key;
    keys[i] = key + group.first_key;
    for (int k = 0; k < num_words; ++k) sorted[int64_t{i} * num_words + k] = words[number * num_words + k];
  }
  std::copy_n(sorted, group.size * num_words, words);
}

}  // namespace robocache
