// SPDX-License-Identifier: Apache-2.0
// A small persistent pool of threads. Host code only: no operation's arithmetic depends on it.
//
// An idle worker spins for a bounded few microseconds, then sleeps. The caller does chunks itself and waits only for
// those that a worker has already begun, so a worker that the system does not schedule delays nobody.
#pragma once

#include <cstdint>
#include <type_traits>

namespace robocache {

// Threads that a parallel_for may use now, the caller among them; at least 1.
int pool_threads();

// 0: as many as this process may run on.
void set_pool_threads(int num_threads);

using PoolBody = void (*)(void* context, int64_t begin, int64_t end, int thread);

// parallel_for without the type of the body.
void pool_run(int64_t size, int64_t grain, PoolBody body, void* context, int max_threads);

// Calls body(begin, end, thread) for chunks that cover [0, size), none shorter than `grain` unless size is.
//
// thread: in [0, max_threads), another one for each call that runs at the same time: the index of a scratch buffer.
// max_threads: what those buffers were made for; another thread may have changed pool_threads() since.
// Which thread gets which chunk, and how many chunks there are, varies from call to call: results must not depend on
// it. The body must not throw. Inline, with thread 0, on one thread, for less than two grains, inside another
// parallel_for, and while another caller has the pool. Allocates nothing once the workers have started.
template <class Body>
void parallel_for(int64_t size, int64_t grain, Body&& body, int max_threads = pool_threads()) {
  using Type = std::remove_reference_t<Body>;
  pool_run(
      size, grain,
      [](void* context, int64_t begin, int64_t end, int thread) { (*static_cast<Type*>(context))(begin, end, thread); },
      const_cast<void*>(static_cast<const void*>(&body)), max_threads);
}

}  // namespace robocache
