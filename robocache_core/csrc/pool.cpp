// SPDX-License-Identifier: Apache-2.0
#include "pool.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace robocache {
namespace {

// For jobs that follow each other at once, as the phases of a cloud do. Longer is time of all cores for nothing: the
// next frame's job comes later.
constexpr auto kSpin = std::chrono::microseconds(5);
constexpr int64_t kChunksPerThread = 4;  // so that a thread which is held up leaves its share to the others

std::atomic<int> num_threads{0};  // 0: not yet known

int usable_cores() {
#ifdef __linux__
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether `done` came true before the spin's time was up.
template <class Done>
bool spin_until(Done done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      pause_briefly();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

struct Job {
  PoolBody body;
  void* context;
  int64_t size, chunks;
  int threads;
  std::atomic<int64_t> next{0};  // chunk
  // Changed with the pool's mutex held.
  int joined = 1;               // threads that took part so far: the next one's number
  std::atomic<int> running{0};  // workers that still do

  void work(int thread) {
    for (int64_t chunk; (chunk = next.fetch_add(1, std::memory_order_relaxed)) < chunks;)
      body(context, begin_of(chunk), begin_of(chunk + 1), thread);
  }

  // The first `size % chunks` chunks are one longer than the others.
  int64_t begin_of(int64_t chunk) const { return chunk * (size / chunks) + std::min(chunk, size % chunks); }
};

class Pool {
 public:
  void run(Job& job) {
    start_workers(job.threads - 1);
    job.threads = std::min(job.threads, workers_ + 1);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      posted_.fetch_add(1, std::memory_order_release);
      const int spinning = workers_ - sleepers_;
      for (int i = spinning; i < job.threads - 1; ++i) wake_.notify_one();
    }
    job.work(0);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = nullptr;  // none joins from here on
    }
    const auto finished = [&] { return job.running.load(std::memory_order_acquire) == 0; };
    if (spin_until(finished)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, finished);
  }

  // Held by the caller whose job runs, however that ends; false where another caller has it.
  class Hold {
   public:
    explicit Hold(Pool& pool) : busy_(pool.busy_), is_mine_(!busy_.exchange(true, std::memory_order_acquire)) {}
    ~Hold() {
      if (is_mine_) busy_.store(false, std::memory_order_release);
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    explicit operator bool() const { return is_mine_; }

   private:
    std::atomic<bool>& busy_;
    const bool is_mine_;
  };

 private:
  // Starts workers until there are `wanted`, or as many as the system grants.
  void start_workers(int wanted) {
    if (workers_ >= wanted) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited: signals go to the process's own threads
    try {
      for (; workers_ < wanted; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      num_threads = workers_ + 1;  // the system's limit is reached: pool_threads() returns it
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  [[noreturn]] void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      if (job_ != nullptr && job_->joined < job_->threads) {
        Job& job = *job_;
        const int thread = job.joined++;
        job.running.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        job.work(thread);
        lock.lock();
        // The job ends with the last worker's decrement: it must not be touched after.
        if (job.running.fetch_sub(1, std::memory_order_release) == 1) finished_.notify_one();
      }
      const uint64_t seen = posted_.load(std::memory_order_relaxed);
      const auto posted = [&] { return posted_.load(std::memory_order_acquire) != seen; };
      lock.unlock();
      const bool soon = spin_until(posted);
      lock.lock();
      if (soon) continue;
      ++sleepers_;
      wake_.wait(lock, posted);
      --sleepers_;
    }
  }

  std::atomic<bool> busy_{false};
  int workers_ = 0;  // changed by the caller that holds busy_
  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::atomic<uint64_t> posted_{0};  // jobs so far
  Job* job_ = nullptr;               // open for workers to join
  int sleepers_ = 0;
};

// Never destroyed: workers use it until the process ends.
alignas(Pool) unsigned char storage[sizeof(Pool)];

Pool* make_pool() { return new (storage) Pool; }

Pool& pool() {
  static Pool* const instance = [] {
    // A child process has none of the workers, and locks in any state: it starts its own.
    pthread_atfork(nullptr, nullptr, [] { make_pool(); });
    return make_pool();
  }();
  return *instance;
}

}  // namespace

int pool_threads() {
  const int known = num_threads.load(std::memory_order_relaxed);
  if (known > 0) return known;
  set_pool_threads(0);
  return num_threads.load(std::memory_order_relaxed);
}

void set_pool_threads(int wanted) { num_threads = wanted > 0 ? wanted : usable_cores(); }

void pool_run(int64_t size, int64_t grain, PoolBody body, void* context, int max_threads) {
  const int threads = std::min(pool_threads(), max_threads);
  const int64_t chunks = std::min(size / std::max<int64_t>(grain, 1), threads * kChunksPerThread);
  if (threads > 1 && chunks > 1) {
    if (const Pool::Hold hold(pool()); hold) {
      Job job{body, context, size, chunks, static_cast<int>(std::min<int64_t>(threads, chunks))};
      pool().run(job);
      return;
    }
  }
  if (size > 0) body(context, 0, size, 0);
}

}  // namespace robocache
