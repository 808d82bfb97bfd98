#include "trainers/stop_signal.h"

#include <array>
#include <csignal>
#include <cstddef>
#include <ctime>
#include <string_view>

#include <unistd.h>

namespace tessera {
namespace {

// The one thing that a signal may touch.
volatile std::sig_atomic_t received_signal = 0;

volatile std::time_t received_at = 0;

// The first signal asks for a clean end. A second one, unless it comes at once (launchers send pairs), ends the
// program.
void on_signal(int number) {
  const std::time_t now = std::time(nullptr);
  if (received_signal != 0 && now - received_at >= 2) _exit(128 + number);
  if (received_signal == 0) received_at = now;
  received_signal = number;
}

void on_bus_error(int) {
  constexpr std::string_view kSentence =
      "tessera: data: a file became shorter while it was read (SIGBUS); write new data beside the old and rename it, "
      "and go on from the latest checkpoint with --init_from=resume\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kSentence.data(), kSentence.size());
  _exit(1);
}

}  // namespace

// The handler runs on a stack of its own: generated matrix kernels keep data beyond the stack pointer, which a signal
// frame would overwrite.
void catch_stop_signals() {
  static std::array<std::byte, 65536> stack;
  const stack_t alternate{.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  sigaltstack(&alternate, nullptr);
  received_signal = 0;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    if (signal == SIGHUP && action.sa_handler == SIG_IGN) continue;  // nohup
    action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    sigaction(signal, &action, nullptr);
  }
}

void explain_shortened_files() {
  struct sigaction action {};
  action.sa_handler = on_bus_error;
  sigaction(SIGBUS, &action, nullptr);
}

int stop_signal() { return received_signal; }

}  // namespace tessera
