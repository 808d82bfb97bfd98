// The program from outside: what bad input, damaged checkpoints, a full disk, non-finite steps and signals get.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/trainers/program.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
namespace fs = std::filesystem;

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
      {2, {"replay", "nowhere", "--device=cpu"}, "replay: --device=cpu is one word too many; name the folder alone"},
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
  EXPECT_THAT(bad(1, {"train", "run", "--init_from=resume", "--block_size=16"}), HasSubstr("has block_size = 8, "));
  EXPECT_THAT(bad(1, {"train", "run", "--init_from=resume", "--vocab_size=64"}), HasSubstr("has vocab_size = 30, "));
  for (const std::string command : {"sample", "eval"}) {
    EXPECT_THAT(bad(1, {command, "run", "--norm=rmsnorm"}),
                HasSubstr("has norm = layernorm, this config says rmsnorm"));
    EXPECT_THAT(bad(1, {command, "run", "--block_size=4"}),
                HasSubstr("has block_size = 8, this config says 4; leave block_size as it was"));
    for (const std::string size : {"5", "64"}) {
      EXPECT_THAT(bad(1, {command, "run", "--vocab_size=" + size}),
                  HasSubstr("has vocab_size = 30, this config says " + size));
    }
  }
}

TEST_F(ProgramTest, ACheckpointOfAnotherLengthIsRefusedOnlyWherePositionsAreLearned) {
  good({"train", "toy.cfg", "--position=rotary", "--vocab_size=64"});
  good({"sample", "run", "--block_size=4"});
  EXPECT_THAT(good({"train", "run", "--init_from=resume", "--max_iters=6", "--block_size=16"}),
              HasSubstr("going on with seed = 1337, block_size = 16"));
  EXPECT_THAT(bad(1, {"eval", "run", "--vocab_size=0"}), HasSubstr("has vocab_size = 64, this config says 30; "));
}

TEST_F(ProgramTest, AnOlderCheckpointThatDoesNotSayItsExtentsServesAsItDid) {
  good({"train", "toy.cfg"});
  const fs::path path = folder_ / "run/latest/state.json";
  auto state = nlohmann::json::parse(read_all(path));
  for (const char* key : {"vocab_size", "block_size"}) EXPECT_EQ(state.at("trainer").erase(key), 1U);
  std::ofstream(path) << state;
  EXPECT_THAT(bad(1, {"eval", "run", "--block_size=4"}),
              HasSubstr("'wpe.weight' is [8, 16] there and [4, 16] in this model; build the model and the optimizer"));
  good({"train", "run", "--init_from=resume", "--max_iters=5"});
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

TEST_F(ProgramTest, NonFiniteStepsLeaveACheckpointOfTheLastGoodWeights) {
  const std::string told = bad(3, {"train", "toy.cfg", "--learning_rate=1e30", "--max_skipped_steps=3",
                                   "--max_iters=20", "--eval_interval=20", "--device=cpu"});
  const std::string good_step = std::to_string(metrics("run").back().at("applied").get<int>());
  EXPECT_THAT(
      told, HasSubstr("the weights are those of step " + good_step + ", kept in run/step_0000000" + good_step + "; "));
  EXPECT_THAT(good({"eval", "run"}), HasSubstr("step " + good_step + ": "));
  EXPECT_THAT(run({"train", "run", "--init_from=resume"}).out, HasSubstr("resuming from run/step_0000000" + good_step));
}

TEST_F(ProgramTest, ALossScaleThatOverflowsIsNamed) {
  const std::string told = bad(3, {"train", "toy.cfg", "--dtype=float16", "--loss_scale=1e30", "--max_skipped_steps=3",
                                   "--eval_interval=4", "--device=cpu"});
  EXPECT_THAT(told, HasSubstr("no step has changed the weights, so nothing is saved; try loss_scale = dynamic: 1e30"));
  good({"train", "toy.cfg", "--dtype=float16", "--device=cpu"});
}

TEST_F(ProgramTest, ASignalBreaksAnEvaluationOff) {
  Program training(folder_, {"train", "toy.cfg", "--data=task:sort", "--block_size=32", "--eval_iters=1000000"});
  ASSERT_TRUE(eventually([&] { return !read_all(folder_ / "run/metrics.jsonl").empty(); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the second step and the begin of its evaluation
  training.send(SIGTERM);
  const Outcome outcome = training.wait();
  EXPECT_EQ(outcome.code, 128 + SIGTERM) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("and saved; continue with: tessera train run/config.cfg --init_from=resume\n"));
  EXPECT_THAT(good({"train", "run", "--init_from=resume", "--eval_iters=1"}), HasSubstr("step 4: "));
}

TEST_F(ProgramTest, AnOutputThatCannotBeWrittenIsNoSuccess) {
  for (const Words& words : {Words{"train", "toy.cfg"}, {"config", "toy.cfg"}, {"eval", "run"}, {"sample", "run"}}) {
    EXPECT_THAT(bad(1, words, {.full_output = true}), HasSubstr("the standard output could not be written to its end"));
  }
  EXPECT_EQ(fs::read_symlink(folder_ / "run/latest"), "step_00000004") << "the training itself ended well";
}

TEST_F(ProgramTest, ATrainingOutlivesTheReaderOfItsOutput) {
  const std::string command =
      "cd " + folder_.path().string() + " && exec " TESSERA_BINARY_DIR "/tessera train toy.cfg --max_iters=100";
  std::FILE* output = popen(command.c_str(), "r");
  ASSERT_NE(output, nullptr);
  std::fgetc(output);
  EXPECT_EQ(pclose(output), 0);
  EXPECT_EQ(metrics("run").size(), 100U);
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
