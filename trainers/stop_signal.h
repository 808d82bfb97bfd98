// SIGINT, SIGTERM and SIGHUP ask a training for a clean end; a second one ends the program. SIGBUS says why it ends.
#pragma once

namespace tessera {

/// From now on these signals are only noted. SIGHUP stays ignored where nohup has it so.
void catch_stop_signals();

/// The last of them since then, or 0.
int stop_signal();

/// From now on reading a mapped file that another process has shortened ends the program with one sentence and exit
/// code 1.
void explain_shortened_files();

}  // namespace tessera
