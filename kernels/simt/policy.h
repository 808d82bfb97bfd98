// What the emulator is free to choose: when streams do their work, when asynchronous copies arrive, and who runs first.
#pragma once

#include <cstdint>

namespace tessera::simt {

/// When asynchronous copies become visible: at once; at the wait that demands them; likewise, but the newest first and
/// younger groups too; at random moments. A correct kernel computes the same under all of them.
enum class Delivery { eager, lazy, newest_first, random };

/// When streams do what they are given: at once; when the host waits for it.
enum class Streams { eager, lazy };

struct Policy {
  Delivery delivery = Delivery::lazy;
  uint32_t seed = 1;
  Streams streams = Streams::lazy;
};
/// Of every launch from now on. It starts as TESSERA_SIMT_DELIVERY says (eager, lazy, newest-first or random:SEED), and
/// TESSERA_SIMT_STREAMS (eager or lazy).
Policy& policy();

}  // namespace tessera::simt
