// SPDX-License-Identifier: Apache-2.0
// Uses the thread pool in every way that an operation may, for ThreadSanitizer to watch (scripts/sanitize.sh).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "pool.hpp"

namespace {

// Every element once, each by one thread: a race or a chunk done twice shows in the sum.
void check_sum(int64_t size, int64_t grain) {
  std::vector<int64_t> values(static_cast<size_t>(size), 0);
  robocache::parallel_for(size, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += i + 1;
  });
  int64_t sum = 0;
  for (const int64_t value : values) sum += value;
  if (sum != size * (size + 1) / 2) {
    std::printf("sum of %lld elements is %lld\n", static_cast<long long>(size), static_cast<long long>(sum));
    std::exit(1);
  }
}

void check_nested() {
  std::vector<int64_t> rows(16, 0);
  robocache::parallel_for(16, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      robocache::parallel_for(64, 1, [&](int64_t b, int64_t e, int) { rows[static_cast<size_t>(i)] += e - b; });
  });
  for (const int64_t row : rows)
    if (row != 64) std::exit(1);
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 4, 3}) {
    robocache::set_pool_threads(threads);
    for (int i = 0; i < 300; ++i) check_sum(i * 7, 1 + i % 16);
    for (int i = 0; i < 20; ++i) check_nested();
  }
  // Several callers at once, and one that changes the number of threads meanwhile.
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([] {
      for (int i = 0; i < 300; ++i) check_sum(1000, 10);
    });
  for (int i = 0; i < 100; ++i) robocache::set_pool_threads(1 + i % 4);
  for (std::thread& caller : callers) caller.join();
  std::puts("pool: ok");
}
