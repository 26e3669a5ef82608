// Memory that is reused from image to image.

#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace {

// Blocks are kept for the next image instead of being freed: allocating them anew, page by page and
// one thread at a time, takes a third of an image's time. Sizes are powers of two. A thread owns a
// store while it solves an image, and usually gets the same one for the next image, whose blocks
// are still in its processor's cache.
class Store {
 public:
  Store() {
    const std::lock_guard<std::mutex> lock(mutex());
    if (idle().empty()) idle().push_back(new FreeLists);
    free_lists = idle().back();
    idle().pop_back();
  }
  ~Store() {
    const std::lock_guard<std::mutex> lock(mutex());
    idle().push_back(free_lists);
  }

  static void* allocate(size_t bytes) {
    const int kind = kind_of(bytes);
    auto& list = free_lists->blocks[kind];
    if (!list.empty()) {
      void* data = list.back();
      list.pop_back();
      return data;
    }
    const size_t size = size_t(1) << kind, fresh = size < SMALL ? size : std::max(size, PAGE);
    char* data = static_cast<char*>(std::aligned_alloc(std::min(fresh, PAGE), fresh));
    if (!data) throw std::bad_alloc();
#ifdef __linux__
    if (fresh >= PAGE) madvise(data, fresh, MADV_HUGEPAGE);
#endif
    for (size_t at = size; at < fresh; at += size) list.push_back(data + at);
    return data;
  }

  static void release(void* data, size_t bytes) {
    const int kind = kind_of(bytes);
    if (kind > LARGEST) return std::free(data);
    free_lists->blocks[kind].push_back(data);
  }

 private:
  static constexpr size_t LINE = 64, SMALL = 1 << 16, PAGE = 1 << 21;  // of a huge page
  static constexpr int LARGEST = 28;  // 256 MiB; larger blocks are rare and are freed
  struct FreeLists {
    std::vector<void*> blocks[64];
  };
  static thread_local FreeLists* free_lists;
  static int kind_of(size_t bytes) { return 64 - __builtin_clzll(std::max(bytes, LINE) - 1); }
  static std::mutex& mutex() {
    static std::mutex mutex;
    return mutex;
  }
  static std::vector<FreeLists*>& idle() {
    static auto& idle = *new std::vector<FreeLists*>;  // never destroyed: threads outlive statics
    return idle;
  }
};

thread_local Store::FreeLists* Store::free_lists = nullptr;

template <class T>
struct Stored {
  typedef T value_type;
  Stored() = default;
  template <class U>
  Stored(const Stored<U>&) {}
  T* allocate(size_t size) { return static_cast<T*>(Store::allocate(size * sizeof(T))); }
  void deallocate(T* data, size_t size) { Store::release(data, size * sizeof(T)); }
  bool operator==(const Stored&) const { return true; }
  bool operator!=(const Stored&) const { return false; }
};

template <class T>
using Vector = std::vector<T, Stored<T>>;

// As Vector, but not initialised.
template <class T>
class Array {
 public:
  explicit Array(size_t size) : size_(size), data_(Stored<T>().allocate(size)) {}
  Array(Array&& other) : size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
  ~Array() {
    if (data_) Stored<T>().deallocate(data_, size_);
  }
  void swap(Array& other) {
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
  }
  operator T*() const { return data_; }

 private:
  size_t size_;
  T* data_;
};

}  // namespace
