// The program from outside: what a run folder holds, how runs continue, and what its commands print.
#include "tests/trainers/program.h"

#include <fstream>
#include <regex>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;
namespace fs = std::filesystem;

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

TEST_F(ProgramTest, EveryReportHasALine) {
  const std::string out = good({"train", "toy.cfg", "--max_iters=12", "--log_interval=4", "--eval_interval=5",
                                "--dtype=float16", "--init_scale=1e10", "--hysteresis=1"});
  const std::regex line("step ([0-9]+)/12 [|] loss ");
  std::vector<int> lines, rows;
  for (std::sregex_iterator match(out.begin(), out.end(), line), end; match != end; ++match)
    lines.push_back(std::stoi((*match)[1]));
  for (const auto& row : metrics("run")) rows.push_back(row.at("step"));
  EXPECT_EQ(lines, rows);
  EXPECT_THAT(rows, AllOf(IsSupersetOf({1, 4, 5, 8, 10, 12}), Contains(2))) << "the second step was skipped";
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

TEST_F(ProgramTest, AVocabularyBeyondTheTokenizersIsSampledEvaluatedAndReplayed) {
  for (const Words& padded : {Words{"--vocab_size=64"}, Words{"--vocab_size=300", "--tokenizer=byte"},
                              Words{"--vocab_size=64", "--data=task:copy:3"}}) {
    fs::remove_all(folder_ / "run");
    Words words{"train", "toy.cfg"};
    words.insert(words.end(), padded.begin(), padded.end());
    EXPECT_THAT(good(words), Not(HasSubstr("no sample was drawn")));
    good({"sample", "run", "--num_samples=1", "--temperature=100", "--max_new_tokens=50"});
    EXPECT_THAT(good({"eval", "run"}), HasSubstr("step 4: train loss "));
  }
  EXPECT_THAT(good({"eval", "run"}), ContainsRegex("\nexact match: [0-9.]+%\n")) << "of the task, which came last";
  run({"train", "toy.cfg", "--vocab_size=64", "--learning_rate=1e30", "--max_skipped_steps=1", "--out_dir=ill"});
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "ill")) {
    if (entry.path().filename().string().starts_with("autopsy_")) good({"replay", entry.path().string()});
  }
}

TEST_F(ProgramTest, AnEvaluationReadsOtherTextInTheTokensOfTheRun) {
  good({"train", "toy.cfg"});
  folder_.write("other.txt", std::string(300, 'e') + std::string(300, 'o'));
  EXPECT_THAT(good({"eval", "run", "--data=other.txt"}),
              AllOf(HasSubstr("this is not the data that the model was trained on"), HasSubstr("val loss ")));
  EXPECT_THAT(good({"eval", "run"}), Not(HasSubstr("this is not the data")));
  folder_.write("strange.txt", std::string(300, 'e') + "é" + std::string(300, 'e'));
  EXPECT_THAT(bad(1, {"eval", "run", "--data=strange.txt"}),
              HasSubstr("strange.txt: the character 'é' (U+00E9) at byte 300 is not in the vocabulary of 30 "
                        "characters; leave it out"));
}

TEST_F(ProgramTest, WhatRanksDoNotChangeIsSaid) {
  EXPECT_THAT(good({"check", "toy.cfg", "--ranks=4", "--zero=1"}),
              HasSubstr("on each of 4 ranks   36.4 KiB; all other figures are those of one process"));
  EXPECT_THAT(good({"check", "toy.cfg"}), Not(HasSubstr("on each of")));
  good({"train", "toy.cfg"});
  for (const std::string command : {"eval", "sample"}) {
    EXPECT_THAT(good({command, "run", "--ranks=2"}), HasSubstr("Ignored: ranks = 2 (" + command + " is one process)"));
    EXPECT_THAT(good({command, "run"}), Not(HasSubstr("Ignored")));
  }
}

TEST_F(ProgramTest, AKeyThatACommandDoesNotUseIsSaidToBeIgnored) {
  const auto ignored = [&](const Words& words) {
    std::vector<std::string> lines;
    std::istringstream out(good(words));
    for (std::string line; std::getline(out, line);) {
      if (line.starts_with("Ignored: ")) lines.push_back(line.substr(9));
    }
    return lines;
  };
  EXPECT_THAT(
      ignored({"verify-resume", "toy.cfg", "--ranks=2", "--init_from=resume", "--max_iters=2"}),
      ElementsAre("ranks = 2 (verify-resume is one process)", "init_from = resume (verify-resume has no use for it)"));
  EXPECT_THAT(ignored({"check", "toy.cfg", "--data=task:copy:3", "--tokenizer=byte"}),
              ElementsAre("tokenizer = byte (a task has its own symbols)"));
  EXPECT_THAT(ignored({"compare", "toy.cfg", "--b.dtype=bfloat16", "--steps=1", "--zero=1", "--threads=1"}),
              ElementsAre("zero = 1 (compare has no use for it)"));
  EXPECT_THAT(ignored({"bench", "comm", "--n_layer=2", "--device=cpu"}),
              ElementsAre("n_layer = 2 (bench has no use for it)"));
  EXPECT_THAT(ignored({"train", "toy.cfg", "--eval_iters=2", "--top_k=5", "--tokenizer=byte"}), IsEmpty());
  EXPECT_THAT(ignored({"eval", "run", "--tokenizer=char", "--eval_iters=1", "--batch_size=1", "--learning_rate=1"}),
              ElementsAre("tokenizer = char (the run has its own)", "learning_rate = 1 (eval has no use for it)"));
  EXPECT_THAT(ignored({"sample", "run", "--data=text.txt", "--top_k=5", "--dtype=bfloat16", "--seed=3"}),
              ElementsAre("data = text.txt (sample has no use for it)"));
}

TEST_F(ProgramTest, AVocabularyWithoutNewLinesIsSampledToo) {
  folder_.write("line.txt", std::string(500, 'a') + std::string(500, 'b'));
  EXPECT_THAT(good({"train", "toy.cfg", "--data=line.txt"}), Not(HasSubstr("no sample was drawn")));
  EXPECT_THAT(good({"sample", "run", "--num_samples=1"}), MatchesRegex("(.|\n)*[ab]{6}\n"));
}

// Token files are read where they lie, page by page.
TEST_F(ProgramTest, DataThatShrinksWhileItIsReadIsSaid) {
  const fs::path tokens = folder_.write("tokens.bin", std::string(1 << 20, '\0'));
  Program training(folder_, {"train", "toy.cfg", "--data=tokens.bin", "--max_iters=1000000", "--log_interval=1000000"});
  ASSERT_TRUE(eventually([&] { return fs::exists(folder_ / "run/latest"); }));
  fs::resize_file(tokens, 0);
  const Outcome outcome = training.wait();
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, StartsWith("tessera: data: a file became shorter while it was read"));
  EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1);
}

}  // namespace
}  // namespace tessera
