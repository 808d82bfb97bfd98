// SIGINT, SIGTERM and SIGHUP ask a training for a clean end; a second one ends the program.
#pragma once

namespace tessera {

/// From now on these signals are only noted. SIGHUP stays ignored where nohup has it so.
void catch_stop_signals();

/// The last of them since then, or 0.
int stop_signal();

}  // namespace tessera
