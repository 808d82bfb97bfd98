#include <chrono>

#include "kernels/clock/clock.h"

namespace tessera {
namespace {

int64_t now() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

void NoteTime::operator()(Cpu) const { *moment = now(); }

void AddTimeSince::operator()(Cpu) const { *total += now() - *moment; }

}  // namespace tessera
