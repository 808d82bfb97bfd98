// The program as a user runs it: another process, its two outputs and its exit code; and the fixture of its tests.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
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
  bool full_output = false;               ///< the standard output goes to a full disk
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
    const std::string out = limits.full_output ? "/dev/full" : output().string(), err = errors().string();
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

/// A folder with a text and the config of a toy that trains on it in a moment.
class ProgramTest : public testing::Test {
 protected:
  ProgramTest() {
    std::string text;
    for (int i = 0; i < 200; ++i) text += "The quick brown fox jumps over the lazy dog.\n";
    folder_.write("text.txt", text);
    folder_.write(
        "toy.cfg",
        "data = text.txt\nout_dir = run\nn_layer = 1\nn_head = 2\nn_embd = 16\nblock_size = 8\nbatch_size = 2\n"
        "max_iters = 4\nwarmup_iters = 1\neval_interval = 2\neval_iters = 1\nlog_interval = 1\nthreads = 1\n"
        "max_new_tokens = 5\nlr_decay_iters = 8\n");
  }

  Outcome run(const Words& words, const Limits& limits = {}) const { return Program(folder_, words, limits).wait(); }

  /// Runs and expects exit code 0.
  std::string good(const Words& words) const {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  }

  /// Runs and expects one sentence on the error output.
  std::string bad(int code, const Words& words, const Limits& limits = {}) const {
    using testing::AllOf, testing::HasSubstr, testing::Not, testing::StartsWith;
    const Outcome outcome = run(words, limits);
    EXPECT_EQ(outcome.code, code) << outcome.out << outcome.err;
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(StartsWith("tessera: "), Not(HasSubstr("exception")), Not(HasSubstr("terminate"))));
    return outcome.err;
  }

  std::string weights(const std::string& run) const { return read_all(folder_ / (run + "/latest/model.safetensors")); }

  std::vector<nlohmann::json> metrics(const std::string& run) const {
    std::vector<nlohmann::json> rows;
    std::ifstream file(folder_ / (run + "/metrics.jsonl"));
    for (std::string line; std::getline(file, line);) rows.push_back(nlohmann::json::parse(line));
    return rows;
  }

  TemporaryFolder folder_;
};

}  // namespace tessera
