// The program as a user runs it: another process, its two outputs and its exit code.
#pragma once

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/temporary_folder.h"

namespace tessera {

using Words = std::vector<std::string>;

struct Outcome {
  int code = -1;  ///< 128 + the signal where one ended the program
  std::string out, err;
};

struct Limits {
  std::optional<rlim_t> file_bytes = {};  ///< writing further fails, as on a full disk
};

/// `tessera WORDS…`, started in `folder`.
class Program {
 public:
  Program(const TemporaryFolder& folder, const Words& words, const Limits& limits = {}) : folder_(folder) {
    Words all{TESSERA_BINARY_DIR "/tessera"};
    all.insert(all.end(), words.begin(), words.end());
    std::vector<char*> arguments;
    for (std::string& word : all) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const std::string out = output().string(), err = errors().string();
    child_ = fork();
    if (child_ != 0) return;
    if (chdir(folder.path().c_str()) != 0) _exit(127);
    dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
    if (limits.file_bytes) {
      const rlimit limit{*limits.file_bytes, *limits.file_bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
      std::signal(SIGXFSZ, SIG_IGN);
    }
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (child_ > 0) kill(child_, SIGKILL), wait();
  }

  void send(int signal) const { kill(child_, signal); }

  Outcome wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_all(output()), read_all(errors())};
  }

  std::filesystem::path output() const { return folder_ / ".stdout"; }
  std::filesystem::path errors() const { return folder_ / ".stderr"; }

 private:
  const TemporaryFolder& folder_;
  pid_t child_;
};

/// Whether `condition` came true within a minute.
inline bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace tessera
