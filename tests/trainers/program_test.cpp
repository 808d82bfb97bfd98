// The program from outside: what a run folder holds, how runs continue, and what bad input, signals and a full disk
// get.
#include "tests/trainers/program.h"

#include <algorithm>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;
namespace fs = std::filesystem;

class ProgramTest : public ::testing::Test {
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

  // Runs and expects exit code 0.
  std::string good(const Words& words) const {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  }

  // Runs and expects one sentence on the error output.
  std::string bad(int code, const Words& words, const Limits& limits = {}) const {
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

TEST_F(ProgramTest, ARunFolderHoldsEverything) {
  const std::string out = good({"train", "toy.cfg"});
  EXPECT_THAT(out, HasSubstr("number of parameters: 3.73k\n"));
  EXPECT_THAT(out, HasSubstr("step 4/4 | loss "));
  EXPECT_THAT(out, HasSubstr("run folder: run (loss curve: run/loss.svg)"));
  for (const char* name :
       {"config.cfg", "metrics.jsonl", "loss.svg", "samples.txt", "step_00000002/COMPLETE",
        "step_00000004/model.safetensors", "step_00000004/optimizer.safetensors", "step_00000004/state.json"}) {
    EXPECT_TRUE(fs::exists(folder_ / ("run/" + std::string(name)))) << name;
  }
  EXPECT_EQ(fs::read_symlink(folder_ / "run/latest"), "step_00000004");
  const auto rows = metrics("run");
  ASSERT_EQ(rows.size(), 4U);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].at("step"), i + 1);
    EXPECT_EQ(rows[i].contains("val_loss"), i % 2 == 1);
    for (const char* name :
         {"applied", "train_loss", "learning_rate", "grad_norm", "tokens_per_second", "peak_memory_bytes"}) {
      EXPECT_TRUE(rows[i].at(name).is_number()) << name;
    }
  }
}

TEST_F(ProgramTest, ItsConfigRepeatsARun) {
  good({"train", "toy.cfg", "--seed=5"});
  good({"train", "run/config.cfg", "--out_dir=again"});
  EXPECT_EQ(weights("run"), weights("again"));
  good({"train", "run", "--init_from=resume", "--max_iters=6"});
  good({"train", "run/config.cfg", "--out_dir=after_a_resume"});
  EXPECT_EQ(weights("run"), weights("after_a_resume"));
}

#ifdef TESSERA_SIMT
TEST_F(ProgramTest, ARunSaysWhyItUsesNoGpu) {
  EXPECT_THAT(good({"train", "toy.cfg", "--device=auto"}),
              AllOf(HasSubstr("device: cuda:0"), Not(HasSubstr("no GPU"))));
  setenv("TESSERA_SIMT_DEVICES", "0", 1);
  EXPECT_THAT(good({"train", "toy.cfg", "--device=auto", "--out_dir=on_cpu"}),
              AllOf(HasSubstr("device: cpu"), HasSubstr("no GPU is used: no GPU is visible\n")));
  EXPECT_THAT(bad(1, {"train", "toy.cfg", "--device=cuda", "--out_dir=nowhere"}),
              HasSubstr("device: cuda:0 was asked for, but no GPU is visible"));
  unsetenv("TESSERA_SIMT_DEVICES");
}
#endif

TEST_F(ProgramTest, ARunThatWasMovedIsWhereItLies) {
  good({"train", "toy.cfg"});
  fs::create_directories(folder_ / "elsewhere");
  fs::copy(folder_ / "run", folder_ / "elsewhere/moved", fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  const std::string untouched = read_all(folder_ / "run/samples.txt");
  good({"sample", "--num_samples=1", "elsewhere/moved"});
  EXPECT_EQ(read_all(folder_ / "run/samples.txt"), untouched);
  EXPECT_NE(read_all(folder_ / "elsewhere/moved/samples.txt"), untouched);
  fs::remove_all(folder_ / "run");
  for (const std::string moved : {"elsewhere/moved", "elsewhere/moved/config.cfg"}) {
    EXPECT_THAT(good({"train", moved, "--init_from=resume", "--max_iters=6"}),
                HasSubstr("resuming from elsewhere/moved/step_0000000"));
  }
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST_F(ProgramTest, ResumingContinuesBitForBitAndDropsNewerReports) {
  good({"train", "toy.cfg", "--max_iters=8", "--out_dir=straight"});
  good({"train", "toy.cfg"});
  std::ofstream(folder_ / "run/metrics.jsonl", std::ios::app) << "{\"step\": 5}\ngarbage\n{\"step\": 6, \"tra";
  const std::string out = good({"train", "run", "--init_from=resume", "--max_iters=8"});
  EXPECT_THAT(out, HasSubstr("resuming from run/step_00000004"));
  EXPECT_THAT(out, HasSubstr("run/metrics.jsonl:6: dropped, and 1 more; they are no reports"));
  EXPECT_EQ(weights("straight"), weights("run"));
  const auto rows = metrics("run");
  ASSERT_EQ(rows.size(), 8U);
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i].at("train_loss"), metrics("straight")[i].at("train_loss"));
  EXPECT_THAT(good({"train", "run", "--init_from=resume"}), HasSubstr("nothing is left to do"));
}

TEST_F(ProgramTest, ScratchRefusesOnlyAFolderWithACheckpoint) {
  fs::create_directories(folder_ / "run");
  folder_.write("run/config.cfg", "max_iters = 1\n");
  good({"train", "toy.cfg"});
  const std::string before = weights("run");
  EXPECT_THAT(bad(1, {"train", "toy.cfg", "--n_layer=2"}), HasSubstr("continue it with --init_from=resume"));
  EXPECT_EQ(weights("run"), before);
}

TEST_F(ProgramTest, SampleEvalCheckAndVerifyResume) {
  EXPECT_THAT(good({"check", "toy.cfg"}),
              AllOf(HasSubstr("parameters  "), HasSubstr("predicted memory "), HasSubstr("tokens per iteration  16"),
                    HasSubstr("time for 4 iterations: ")));
  EXPECT_FALSE(fs::exists(folder_ / "run")) << "check trains and writes nothing";
  EXPECT_THAT(good({"verify-resume", "toy.cfg"}), HasSubstr("resuming is bit-exact"));
  good({"train", "toy.cfg"});
  const std::string sample = good({"sample", "run", "--start=The quick", "--num_samples=2", "--top_p=0.9"});
  EXPECT_THAT(sample, AllOf(HasSubstr("The quick"), HasSubstr("---------------")));
  EXPECT_EQ(sample, good({"sample", "run", "--start=The quick", "--num_samples=2", "--top_p=0.9"}));
  folder_.write("prompt.txt", "lazy");
  EXPECT_THAT(good({"sample", "run", "--start=FILE:prompt.txt"}), HasSubstr("lazy"));
  EXPECT_THAT(read_all(folder_ / "run/samples.txt"), HasSubstr("The quick"));
  EXPECT_THAT(good({"eval", "run"}), HasSubstr("step 4: train loss "));
  fs::rename(folder_ / "run", folder_ / "moved");
  EXPECT_THAT(good({"eval", "moved"}), HasSubstr("step 4: train loss "));
}

TEST_F(ProgramTest, AVocabularyWithoutNewLinesIsSampledToo) {
  folder_.write("line.txt", std::string(500, 'a') + std::string(500, 'b'));
  EXPECT_THAT(good({"train", "toy.cfg", "--data=line.txt"}), Not(HasSubstr("no sample was drawn")));
  EXPECT_THAT(good({"sample", "run", "--num_samples=1"}), MatchesRegex("(.|\n)*[ab]{6}\n"));
}

TEST_F(ProgramTest, AReportThatCannotBeWrittenCostsNoCheckpoint) {
  fs::create_directories(folder_ / "run/loss.svg/full");
  EXPECT_THAT(bad(1, {"train", "toy.cfg"}), HasSubstr("run/loss.svg: cannot be put in place"));
  EXPECT_EQ(fs::read_symlink(folder_ / "run/latest"), "step_00000002");
  fs::remove_all(folder_ / "run/loss.svg");
  EXPECT_THAT(good({"train", "run", "--init_from=resume"}), HasSubstr("resuming from run/step_00000002"));
}

TEST_F(ProgramTest, SamplesThatCannotBeKeptArePrintedAllTheSame) {
  good({"train", "toy.cfg"});
  fs::remove(folder_ / "run/samples.txt");
  fs::create_directories(folder_ / "run/samples.txt");
  const Outcome outcome = run({"sample", "run", "--start=The quick"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("The quick"));
  EXPECT_THAT(outcome.err, StartsWith("tessera: the samples were not kept: run/samples.txt: cannot be opened"));
}

TEST_F(ProgramTest, AFolderInTheWayOfAFileIsNamed) {
  good({"train", "toy.cfg"});
  EXPECT_THAT(bad(1, {"sample", "run", "--start=FILE:run"}), HasSubstr("start: run: cannot be read: Is a directory; "));
  const auto put_folder = [&](const std::string& file) {
    fs::remove(folder_ / file);
    fs::create_directories(folder_ / file);
  };
  put_folder("run/metrics.jsonl");
  EXPECT_THAT(bad(1, {"train", "run", "--init_from=resume", "--max_iters=8"}),
              HasSubstr("run/metrics.jsonl: cannot be read: Is a directory; "));
  put_folder("run/latest/state.json");
  EXPECT_THAT(bad(1, {"train", "run", "--init_from=resume"}),
              HasSubstr("step_00000004/state.json: cannot be read: Is a directory; "));
}

// What `words` get: the exit code and part of the sentence.
struct Bad {
  int code;
  Words words;
  std::string message;
};

TEST_F(ProgramTest, BadInputGetsOneSentence) {
  folder_.write("empty.txt", "");
  folder_.write("short.txt", "ab");
  folder_.write("binary.txt", "a\xFFz");
  folder_.write("broken.cfg", "n_layer = four\n");
  fs::create_directories(folder_ / "nothing_in_it");
  // 32 tokens of raw uint16, and a llm.c file whose header promises more than there is.
  folder_.write("odd.bin", std::string(63, '\1'));
  std::string promised(1024, '\0');
  promised.replace(0, 12, std::string("\x88\xD8\x34\x01\x01\0\0\0\0\0\0\x7F", 12));
  folder_.write("promised.bin", promised + "ab");
  std::string ids;
  for (int i = 0; i < 500; ++i) ids += std::string{static_cast<char>(i % 50), '\0'};
  ids[802] = 77;
  folder_.write("beyond.bin", ids);
  const std::vector<Bad> table = {
      {2, {}, "a command is missing"},
      {2, {"trian"}, "unknown command trian; did you mean train?"},
      {2, {"train", "toy.cfg", "--n_layr=2"}, "unknown key n_layr; did you mean n_layer?"},
      {2, {"train", "toy.cfg", "--n_layer=4x"}, "n_layer wants an integer from 1 to 10000, got 4x"},
      {2, {"train", "toy.cfg", "--n_layer=0"}, "n_layer wants an integer from 1 to 10000, got 0"},
      {2, {"train", "toy.cfg", "--n_head=3"}, "n_head = 3 does not divide n_embd = 16"},
      {2, {"train", "broken.cfg"}, "broken.cfg:1: n_layer wants an integer"},
      {2, {"train", "missing.cfg"}, "cannot read the config file missing.cfg: No such file or directory"},
      {2, {"check"}, "data is not set; name what to train on"},
      {2, {"train", "toy.cfg", "--data="}, "data is not set"},
      {1,
       {"train", "toy.cfg", "--data=missing.txt"},
       "missing.txt: cannot be opened for reading: No such file or directory; check the path"},
      {1, {"check", "toy.cfg", "--data=empty.txt"}, "empty.txt: holds no text"},
      {1, {"check", "toy.cfg", "--data=short.txt"}, "short.txt: the training part has 1 tokens"},
      {1, {"check", "toy.cfg", "--data=binary.txt"}, "binary.txt: is not UTF-8 text (byte 0xff at offset 1)"},
      {1, {"check", "toy.cfg", "--data=nothing_in_it"}, "nothing_in_it: there are no files"},
      {1, {"check", "toy.cfg", "--data=*.none"}, "*.none: no file matches"},
      {1,
       {"check", "toy.cfg", "--data=odd.bin"},
       "odd.bin: 63 bytes are no whole number of uint16 tokens; tokenize the data again"},
      {1, {"check", "toy.cfg", "--data=promised.bin"}, "promised.bin: 2130706432 tokens take"},
      {1, {"check", "toy.cfg", "--data=/dev/zero"}, "/dev/zero: is not a regular file; copy what it holds into one"},
      {1,
       {"check", "toy.cfg", "--data=beyond.bin", "--vocab_size=50"},
       "beyond.bin: token 401, at byte 802, is 77, outside of the vocabulary of 50"},
      {1, {"check", "toy.cfg", "--data=task:juggle"}, "the task 'juggle' is not known"},
      {1, {"train", "toy.cfg", "--out_dir=/proc/run"}, "out_dir /proc/run: the folder cannot be made"},
      {1, {"train", "toy.cfg", "--out_dir=text.txt/run"}, "out_dir text.txt/run: the folder cannot be made"},
      {1, {"train", "toy.cfg", "--device=cuda:99"}, "device: cuda:99 was asked for"},
      {1, {"train", "toy.cfg", "--init_from=resume"}, "it holds no complete checkpoint to resume from"},
      {1,
       {"check", "toy.cfg", "--n_embd=1000000", "--n_head=10000", "--n_layer=1000", "--device=cpu"},
       "parameters take"},
      {2, {"sample"}, "sample: name a run folder: tessera sample RUN"},
      {2, {"sample", "nowhere"}, "nowhere: No such file or directory; name a config file or a run folder"},
      {1, {"sample", "toy.cfg"}, "run: this folder holds no complete checkpoint; train first"},
      {1, {"replay", "nowhere"}, "replay: nowhere/autopsy.json is not there; name the folder"},
  };
  for (const Bad& row : table) {
    const std::string message = bad(row.code, row.words);
    EXPECT_THAT(message, HasSubstr(row.message)) << ::testing::PrintToString(row.words);
    // The cure follows a semicolon, or is what was wanted.
    EXPECT_THAT(message, AnyOf(HasSubstr("; "), HasSubstr(" wants "), HasSubstr(": name a "))) << message;
  }
  EXPECT_FALSE(fs::exists(folder_ / "run")) << "nothing was to be made";
}

TEST_F(ProgramTest, ADamagedCheckpointIsNamedAndTheOneBeforeStillServes) {
  good({"train", "toy.cfg", "--keep_checkpoints=0"});
  const fs::path latest = folder_ / "run/step_00000004";
  const std::string whole = read_all(latest / "model.safetensors"), state = read_all(latest / "state.json");
  const std::string hostile = std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 8) + whole.substr(8);
  for (const std::string& content : {whole.substr(0, 100), whole.substr(0, whole.size() - 4), hostile, std::string()}) {
    std::ofstream(latest / "model.safetensors", std::ios::binary) << content;
    EXPECT_THAT(bad(1, {"eval", "run"}),
                AllOf(HasSubstr("step_00000004/model.safetensors"),
                      HasSubstr("remove this checkpoint's folder to go on from the one before")));
  }
  std::ofstream(latest / "model.safetensors", std::ios::binary) << whole;
  for (const std::string& content : {state.substr(0, 50), std::string("{}"), std::string("[1"), std::string()}) {
    std::ofstream(latest / "state.json", std::ios::binary) << content;
    EXPECT_THAT(bad(1, {"train", "run", "--init_from=resume"}), HasSubstr("step_00000004/state.json: it is damaged"));
  }
  fs::remove_all(latest);
  EXPECT_THAT(good({"train", "run", "--init_from=resume"}), HasSubstr("resuming from run/step_00000002"));
}

TEST_F(ProgramTest, AFieldOfAnotherTypeInTheSavedStateIsNamed) {
  good({"train", "toy.cfg"});
  const fs::path path = folder_ / "run/latest/state.json";
  const std::string whole = read_all(path);
  const Words resume{"train", "run", "--init_from=resume"}, sample{"sample", "run"};
  const auto refused = [&](const char* section, const char* name, const nlohmann::json& value, const Words& words) {
    auto state = nlohmann::json::parse(whole);
    state[section][name] = value;
    std::ofstream(path) << state;
    const std::string message = bad(1, words);
    EXPECT_THAT(message, HasSubstr("step_00000004/state.json: "));
    return message;
  };
  EXPECT_THAT(refused("step", "scale", "big", resume), HasSubstr("scale is of type string, number is wanted"));
  EXPECT_THAT(refused("step", "iteration", 4.5, resume), HasSubstr("iteration is of type number, integer is wanted"));
  EXPECT_THAT(refused("step", "iteration", -1, sample), HasSubstr("applied is 4 and iteration -1"));
  EXPECT_THAT(refused("trainer", "skipped", {1}, resume), HasSubstr("skipped is of type array, integer is wanted"));
  EXPECT_THAT(refused("trainer", "dtype", nullptr, resume), HasSubstr("dtype is of type null, string is wanted"));
  EXPECT_THAT(refused("trainer", "tokenizer", 7, sample), HasSubstr("the saved tokenizer is damaged"));
  auto state = nlohmann::json::parse(whole);
  state["format_version"] = 1;
  std::ofstream(path) << state;
  EXPECT_THAT(bad(1, resume), HasSubstr("its format version is 1, this program reads 2; go on with the program that"));
}

TEST_F(ProgramTest, ACheckpointOfAnotherArchitectureIsRefused) {
  good({"train", "toy.cfg"});
  EXPECT_THAT(bad(1, {"train", "run", "--init_from=resume", "--n_layer=2"}),
              HasSubstr("run/step_00000004: its model has n_layer = 1, this config says 2; leave n_layer as it was"));
  for (const std::string command : {"sample", "eval"}) {
    EXPECT_THAT(bad(1, {command, "run", "--norm=rmsnorm"}),
                HasSubstr("has norm = layernorm, this config says rmsnorm"));
  }
}

// The file size limit stands for a full disk; `scripts/test --long` fills a real one.
TEST_F(ProgramTest, AFullDiskWhileSavingLosesNothing) {
  good({"train", "toy.cfg"});
  const std::string before = weights("run");
  const rlim_t room = fs::file_size(folder_ / "run/latest/model.safetensors") / 2;
  EXPECT_THAT(bad(1, {"train", "run", "--init_from=resume", "--max_iters=8"}, {.file_bytes = room}),
              AllOf(HasSubstr("model.safetensors: cannot be written: File too large"), HasSubstr("make room"),
                    HasSubstr("earlier checkpoints are untouched")));
  EXPECT_EQ(weights("run"), before);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "run"))
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("partial")));
  good({"train", "run", "--init_from=resume", "--max_iters=8"});
  EXPECT_EQ(metrics("run").size(), 8U);
}

TEST_F(ProgramTest, NonFiniteStepsAreCountedAndStopWithACodeOfTheirOwn) {
  EXPECT_THAT(
      bad(3, {"train", "toy.cfg", "--learning_rate=1e30", "--max_skipped_steps=3", "--max_iters=20", "--device=cpu"}),
      AllOf(HasSubstr("3 steps in a row had non-finite gradients"), HasSubstr("try a lower learning_rate")));
  const auto rows = metrics("run");
  EXPECT_TRUE(rows.back().at("train_loss").is_null());
  EXPECT_EQ(rows.back().at("applied"), rows.back().at("step").get<int>() - 3);
}

TEST_F(ProgramTest, SignalsFinishTheStepSaveAndSayHowToGoOn) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Program training(folder_,
                     {"train", "toy.cfg", "--max_iters=1000000", "--eval_interval=1000000", "--out_dir=stopped"});
    ASSERT_TRUE(eventually([&] { return read_all(folder_ / "stopped/metrics.jsonl").size() > 200; }));
    training.send(signal);
    const Outcome outcome = training.wait();
    EXPECT_EQ(outcome.code, 128 + signal) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("continue with: tessera train stopped/config.cfg --init_from=resume\n"));
    const auto done = metrics("stopped").back().at("step").get<int>();
    EXPECT_THAT(good({"train", "stopped/config.cfg", "--init_from=resume", "--max_iters=" + std::to_string(done + 2)}),
                HasSubstr("step " + std::to_string(done + 2) + ":"));
    fs::remove_all(folder_ / "stopped");
  }
}

}  // namespace
}  // namespace tessera
