// A happens-before checker for shared memory. Every thread of a block has a vector clock (Mattern 1989); a barrier
// joins the clocks of those who meet there, and nothing else orders memory: not a shuffle, not a matrix instruction.
// Every byte remembers its last write and its reads since, so two accesses of which one writes and which no barrier
// orders are found whatever order the emulator ran them in. Asynchronous copies write from their issue to the wait of
// the same thread.
//
// Plain loads and stores are seen where the kernel was compiled with -fsanitize=thread: its calls (`__tsan_write4`, …)
// end in this library instead of the compiler's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tessera::simt {

/// Whether code with -fsanitize=thread is part of this program; then all launches are checked.
bool races_are_checked();

/// For each thread, how much of its past is known.
using Clock = std::vector<uint32_t>;

class Races {
 public:
  /// A new block: nobody knows anything of the others.
  void begin(int threads, const std::byte* shared, size_t shared_bytes);

  void read(int thread, const void* address, size_t bytes);
  void write(int thread, const void* address, size_t bytes);
  /// 16 bytes are written at an unknown moment between these two.
  void copy_begins(int thread, const void* to);
  void copy_ends(int thread, const void* to);

  /// Adds to `clock` what `thread` knows, and counts its later deeds apart.
  void release(int thread, Clock& clock);
  /// `thread` learns all of `clock`.
  void acquire(int thread, const Clock& clock);

  /// The first race of the block, or empty.
  const std::string& found() const { return found_; }

 private:
  struct Write {
    uint32_t time = 0;
    uint16_t thread = 0;
    bool in_flight = false;
  };
  /// Reads by lanes of one warp at one time; older ones give way.
  struct Reads {
    uint32_t time = 0, lanes = 0;
  };

  /// The index of the first byte, or -1 where the range is not shared memory.
  std::ptrdiff_t index_of(const void* address, size_t bytes) const;
  bool knows(int thread, int other, uint32_t time) const { return clocks_[thread][other] >= time; }
  void check_write(int thread, size_t at, const char* verb);
  void check_reads(int thread, size_t at, const char* verb);
  void report(int thread, const char* verb, size_t at, int other, const char* deed);

  const std::byte* begin_ = nullptr;
  size_t bytes_ = 0;
  int warps_ = 0;
  uint32_t start_ = 1;  // times before it belong to other blocks
  uint32_t last_ = 1;
  std::vector<Clock> clocks_;
  std::vector<Write> writes_;  // of each byte
  std::vector<Reads> reads_;   // of each warp (at most 32) and byte
  std::string found_;
};

}  // namespace tessera::simt
