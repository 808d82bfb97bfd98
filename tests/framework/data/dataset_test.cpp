#include "framework/data/dataset.h"

#include <map>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::Contains;
using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

/// 1,000 characters without a repeated pair of neighbours that would hide an error of one.
std::string story() {
  std::string text;
  for (int i = 0; text.size() < 1000; ++i) text += std::to_string(i * i) + "\n";
  return text.substr(0, 1000);
}

class Data : public testing::Test {
 protected:
  DataSet::Options options(std::string_view name, std::string_view content) {
    return {.source = folder.write(name, content).string(), .block_size = 8};
  }
  TemporaryFolder folder;
};

TEST_F(Data, TextRowsAreWindowsAndTargetsFollow) {
  const std::string text = story();
  const DataSet data = DataSet::open(options("a.txt", text));
  EXPECT_EQ(data.vocab_size(), 11);
  EXPECT_EQ(data.block_size(), 8);
  EXPECT_EQ(data.epoch_rows(), 111);
  EXPECT_EQ(data.describe(), "900 training and 100 validation tokens of 11 characters");
  EXPECT_FALSE(data.has_answers());
  EXPECT_THAT(data.notices(), IsEmpty());
  const Batch batch = data.training_batch({0, 300});
  for (size_t row = 0; row < 300; ++row) {
    const std::string input = data.tokenizer().decode(std::span(batch.ids).subspan(row * 8, 8));
    const std::string target = data.tokenizer().decode(std::span(batch.targets).subspan(row * 8, 8));
    EXPECT_EQ(input.substr(1), target.substr(0, 7));
    EXPECT_NE(text.substr(0, 900).find(input + target.back()), text.npos);
  }
}

TEST_F(Data, BatchesAreTheSameHoweverTheyAreCut) {
  const DataSet data = DataSet::open(options("a.txt", story()));
  const Batch whole = data.training_batch({5, 17});
  Batch parts;
  for (const Rows rows : {Rows{5, 6}, Rows{6, 13}, Rows{13, 17}}) {
    const Batch part = data.training_batch(rows);
    parts.ids.insert(parts.ids.end(), part.ids.begin(), part.ids.end());
    parts.targets.insert(parts.targets.end(), part.targets.begin(), part.targets.end());
  }
  EXPECT_EQ(parts.ids, whole.ids);
  EXPECT_EQ(parts.targets, whole.targets);
  DataSet::Options other = options("a.txt", story());
  other.seed = 7;
  EXPECT_NE(DataSet::open(other).training_batch({5, 17}).ids, whole.ids);
}

TEST_F(Data, EvaluationSpreadsOverTheSplit) {
  const std::string text = story();
  DataSet::Options wanted = options("a.txt", text);
  wanted.batch_size = 5;
  const DataSet data = DataSet::open(wanted);
  EXPECT_THAT(data.evaluation_batches(Split::validation, 200), ElementsAre(Rows{0, 4}, Rows{4, 8}, Rows{8, 12}));
  EXPECT_EQ(data.evaluation_batches(Split::train, 200).back().end, 112);
  const Batch all = data.evaluation_batch(Split::validation, {0, 12}, 200);
  EXPECT_EQ(data.tokenizer().decode(all.ids), text.substr(900, 96));
  EXPECT_EQ(data.tokenizer().decode(all.targets), text.substr(901, 96));
  EXPECT_EQ(all.rows, 12);
  EXPECT_EQ(all.counted, 96);

  wanted.batch_size = 3;
  const DataSet few = DataSet::open(wanted);
  EXPECT_THAT(few.evaluation_batches(Split::validation, 1), ElementsAre(Rows{0, 3}));
  EXPECT_EQ(few.tokenizer().decode(few.evaluation_batch(Split::validation, {1, 3}, 1).ids),
            text.substr(932, 8) + text.substr(964, 8));
}

TEST_F(Data, RanksReadTheirShares) {
  DataSet::Options wanted = options("a.txt", story());
  wanted.batch_size = 4;
  wanted.gradient_accumulation_steps = 2;
  EXPECT_THAT(DataSet::open(wanted).micro_batches(3), ElementsAre(Rows{24, 28}, Rows{28, 32}));
  EXPECT_EQ(DataSet::open(wanted).counted_tokens(3), 64);
  wanted.world = 3;
  wanted.rank = 2;
  const DataSet last = DataSet::open(wanted);
  EXPECT_THAT(last.micro_batches(3), ElementsAre(Rows{30, 32}));
  EXPECT_EQ(last.counted_tokens(3), 64);
  EXPECT_THAT(last.evaluation_batches(Split::validation, 200), ElementsAre(Rows{8, 12}));
}

TEST_F(Data, SeveralFilesAreOneText) {
  folder.write("a", "abcabc");
  folder.write("b", "dede\n");
  folder.write("c", std::string("\0", 1));
  DataSet::Options wanted{.source = folder.path().string(), .block_size = 1};
  const DataSet data = DataSet::open(wanted);
  EXPECT_EQ(data.vocab_size(), 6);
  EXPECT_THAT(data.notices(), ElementsAre(HasSubstr("not UTF-8 text: c")));
  EXPECT_EQ(data.tokenizer().decode(data.evaluation_batch(Split::validation, {0, 1}, 1).targets), "\n");
  std::string targets;
  for (int64_t i = 0; i < 40; ++i) targets += data.tokenizer().decode(data.training_batch({i, i + 1}).targets);
  EXPECT_NE(targets.find('d'), targets.npos);
}

TEST_F(Data, BytesAndSubwordsAreTokensToo) {
  DataSet::Options wanted = options("a.txt", story() + "\xff");
  wanted.tokenizer = "byte";
  const DataSet bytes = DataSet::open(wanted);
  EXPECT_EQ(bytes.vocab_size(), 256);
  EXPECT_EQ(bytes.tokenizer().decode(bytes.evaluation_batch(Split::train, {0, 1}, 1).ids), story().substr(0, 8));
#if TESSERA_WITH_SENTENCEPIECE
  DataSet::Options subwords = options("b.txt", story() + story());
  subwords.tokenizer = "sentencepiece:320";
  const DataSet data = DataSet::open(subwords);
  EXPECT_EQ(data.vocab_size(), 320);
  EXPECT_THAT(data.notices(), IsEmpty());
  subwords.tokenizer = "sentencepiece:4096";
  EXPECT_THAT(
      DataSet::open(subwords).notices(),
      ElementsAre(ContainsRegex("gives no more than [0-9]+ pieces, fewer than tokenizer = sentencepiece:4096")));
  subwords.trained_with = data.tokenizer();
  EXPECT_THAT(DataSet::open(subwords).notices(), IsEmpty());
  DataSet::Options block = options("c.txt", story() + "\u2581 " + story());
  block.tokenizer = "sentencepiece:320";
  EXPECT_THAT(DataSet::open(block).notices(), ElementsAre(HasSubstr("c.txt: holds U+2581")));
  EXPECT_THAT(story(), HasSubstr(data.tokenizer().decode(data.evaluation_batch(Split::train, {0, 1}, 1).ids)));
#endif
}

TEST_F(Data, ALongTextIsEncodedInPieces) {
  constexpr size_t kPairs = 9 << 20;
  std::string text = "x";  // so that the first piece, of 16 MiB, ends inside of a character
  for (size_t i = 0; i < kPairs; ++i) text += "é";
  const DataSet data = DataSet::open(options("long.txt", text));
  EXPECT_EQ(data.describe(), "8493466 training and 943719 validation tokens of 2 characters");
}

TEST_F(Data, AByteOrderMarkIsNoCharacter) {
  EXPECT_EQ(DataSet::open(options("marked.txt", "\xEF\xBB\xBF" + story())).fingerprint(),
            DataSet::open(options("plain.txt", story())).fingerprint());
}

TEST_F(Data, GoesOnWithTheTokenizerOfARun) {
  const DataSet first = DataSet::open(options("a.txt", story()));
  const auto saved = Tokenizer::from_json(first.tokenizer().to_json());
  DataSet::Options other = options("b.txt", std::string(200, '7'));
  other.trained_with = saved;
  const DataSet again = DataSet::open(other);
  EXPECT_EQ(again.vocab_size(), 11);
  EXPECT_EQ(again.tokenizer().decode(again.training_batch({0, 1}).ids), "77777777");
  DataSet::Options strange = options("c.txt", std::string(100, '7') + "x" + std::string(100, '7'));
  strange.trained_with = saved;
  EXPECT_EQ(message_of([&] { DataSet::open(strange); }),
            strange.source +
                ": the character 'x' (U+0078) at byte 100 is not in the vocabulary of 11 characters; leave it out");
}

TEST_F(Data, TokenFilesAreMapped) {
  std::vector<uint16_t> ids(1000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<uint16_t>(i);
  const std::string bytes(reinterpret_cast<const char*>(ids.data()), 2000);
  folder.write("train.bin", bytes.substr(0, 1600));
  folder.write("val.bin", bytes.substr(1600));
  folder.write("prepare.py", "import tiktoken");
  DataSet::Options wanted{.source = folder.path().string(), .block_size = 8};
  wanted.batch_size = 4;
  const DataSet data = DataSet::open(wanted);
  EXPECT_EQ(data.vocab_size(), 1000);
  EXPECT_EQ(data.epoch_rows(), 99);
  EXPECT_EQ(data.describe(), "800 training and 200 validation tokens of 1000 token ids");
  EXPECT_THAT(data.notices(), Contains(HasSubstr("left out 1 that hold no tokens, beside files that do: prepare.py")));
  EXPECT_EQ(data.tokenizer().decode(data.evaluation_batch(Split::validation, {1, 2}, 1).ids),
            "848 849 850 851 852 853 854 855");
  wanted.vocab_size = 1024;
  EXPECT_EQ(DataSet::open(wanted).vocab_size(), 1024);
  wanted.vocab_size = 999;
  EXPECT_THAT(message_of([&] { DataSet::open(wanted); }),
              HasSubstr("val.bin: token 199, at byte 398, is 999, outside of the vocabulary of 999"));
}

TEST_F(Data, TasksAreGeneratedOnTheFly) {
  const DataSet data = DataSet::open({.source = "task:copy:4", .block_size = 0, .batch_size = 5});
  EXPECT_EQ(data.block_size(), 9);
  EXPECT_EQ(data.vocab_size(), 28);
  EXPECT_TRUE(data.has_answers());
  EXPECT_EQ(data.epoch_rows(), std::nullopt);
  EXPECT_EQ(data.describe(), "endless samples of copy:4, 10 tokens each, of 28 symbols");
  EXPECT_EQ(data.counted_tokens(0), 25);
  EXPECT_EQ(data.evaluation_batches(Split::validation, 4).back(), (Rows{15, 20}));
  const Batch batch = data.training_batch({100, 103});
  EXPECT_EQ(batch.targets[9 + 4], batch.ids[9]);
  EXPECT_EQ(batch.counted, 15);
  EXPECT_EQ(DataSet::open({.source = "task:copy:4", .block_size = 32}).block_size(), 32);
  EXPECT_EQ(message_of([] { DataSet::open({.source = "task:copy", .block_size = 32}); }),
            "block_size: 32 is less than the 33 tokens that a sample of task:copy:16 takes; raise it or make the task "
            "smaller");
  EXPECT_THAT(message_of([&] { DataSet::open({.source = "task:sort", .trained_with = data.tokenizer()}); }),
              HasSubstr("another vocabulary"));
  EXPECT_NO_THROW(DataSet::open({.source = "task:copy:7", .trained_with = data.tokenizer()}));
}

TEST_F(Data, SaysThatATokenizerIsForTextAlone) {
  folder.write("tokens.bin", std::string(200, '\1'));
  for (const std::string& source : {(folder / "tokens.bin").string(), std::string("task:copy:4")}) {
    DataSet::Options wanted{.source = source, .block_size = 9};
    const DataSet plain = DataSet::open(wanted);
    EXPECT_THAT(plain.notices(), Not(Contains(HasSubstr("Ignored")))) << source;
    wanted.tokenizer = "byte";
    EXPECT_THAT(DataSet::open(wanted).notices(), Contains(StartsWith("Ignored: tokenizer = byte ("))) << source;
    wanted.trained_with = plain.tokenizer();  // of a run, whatever that was told
    EXPECT_THAT(DataSet::open(wanted).notices(), Not(Contains(HasSubstr("Ignored")))) << source;
  }
}

TEST_F(Data, SaysWhatIsTooShort) {
  const DataSet::Options five = options("five.txt", "12345");
  EXPECT_EQ(message_of([&] { DataSet::open(five); }),
            five.source +
                ": the training part has 4 tokens, but a row takes block_size + 1 = 9; use more data or a smaller "
                "block_size");
  const DataSet::Options fifty = options("fifty.txt", std::string(50, 'x'));
  EXPECT_THAT(message_of([&] { DataSet::open(fifty); }), HasSubstr("the validation part has 5 tokens"));
  EXPECT_THAT(message_of([&] { DataSet::open(options("empty.txt", "")); }), HasSubstr("holds no text"));
  DataSet::Options none = options("a.txt", story());
  none.block_size = 0;
  EXPECT_THAT(message_of([&] { DataSet::open(none); }), HasSubstr("block_size: 0 is not a length"));
  DataSet::Options narrow = options("a.txt", story());
  narrow.vocab_size = 10;
  EXPECT_THAT(message_of([&] { DataSet::open(narrow); }),
              HasSubstr("vocab_size: 10 is less than the 11 characters of"));
  EXPECT_THAT(message_of([] { DataSet::open({}); }), HasSubstr("no source is given"));
}

TEST_F(Data, FingerprintFollowsTheContent) {
  std::map<std::string, std::string> seen;
  std::string changed = story();
  changed[500] = changed[500] == '1' ? '2' : '1';
  for (const auto& [name, text] : {std::pair{"a", story()}, {"b", story() + "1"}, {"c", changed}}) {
    const std::string fingerprint = DataSet::open(options(name, text)).fingerprint();
    EXPECT_THAT(fingerprint, testing::MatchesRegex("[0-9a-f]{16}"));
    EXPECT_TRUE(seen.emplace(fingerprint, name).second);
  }
  EXPECT_EQ(DataSet::open(options("d", story())).fingerprint(), DataSet::open(options("a", story())).fingerprint());
  EXPECT_NE(DataSet::open({.source = "task:copy:4"}).fingerprint(),
            DataSet::open({.source = "task:copy:5"}).fingerprint());
}

}  // namespace
}  // namespace tessera
