#include "trainers/config/load.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"
#include "trainers/config/config_text.h"
#include "trainers/config/describe.h"
#include "trainers/config/options.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

class LoadConfig : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    return folder_.write(name, text).string();
  }

  TemporaryFolder folder_;
};

TEST_F(LoadConfig, FileFirstThenCommandLine) {
  const std::string file = write("toy.cfg", "# a toy\nn_layer = 2\nbatch_size=8 # small\n\nlearning_rate = 1\r\n");
  const LoadedConfig loaded = load_config(Words{file, "--batch_size=32", "--bias", "true", "--dropout=0"});
  EXPECT_EQ(loaded.config.n_layer, 2);
  EXPECT_EQ(loaded.config.batch_size, 32);
  EXPECT_EQ(loaded.config.learning_rate, 1.0);
  EXPECT_TRUE(loaded.config.bias);
  EXPECT_EQ(loaded.config.n_head, Config().n_head);
  EXPECT_THAT(loaded.notices,
              ElementsAre("Overriding: batch_size = 32", "Overriding: bias = True", "Overriding: dropout = 0"));
  EXPECT_EQ(loaded.origins.at("n_layer"), file + ":2");
  EXPECT_EQ(loaded.origins.at("batch_size"), "command line");
  EXPECT_FALSE(loaded.origins.contains("n_head"));
}

TEST_F(LoadConfig, ARunFolderStandsForItsConfig) {
  write("config.cfg", "n_layer = 3\n");
  const LoadedConfig loaded = load_config(Words{folder_.path().string()});
  EXPECT_EQ(loaded.config.n_layer, 3);
  EXPECT_EQ(loaded.file, (folder_ / "config.cfg").string());
}

TEST_F(LoadConfig, TextValues) {
  const std::string file = write("toy.cfg",
                                 "\xEF\xBB\xBF"
                                 "data = some folder/a#b.txt   # a comment\n"
                                 "start = \"# not a comment\\n\" # a comment\n"
                                 "  out_dir = 'it''s'  \n");
  EXPECT_THAT(message_of([&] { load_config(Words{file}); }), HasSubstr("toy.cfg:3: out_dir has something after"));
  const std::string good =
      write("good.cfg", "data = some folder/a#b.txt   # a comment\nstart = \"# no\\n\" #c\nout_dir='a = b'");
  const LoadedConfig loaded = load_config(Words{good, "--tokenizer=sentencepiece:4096", "--data="});
  EXPECT_EQ(loaded.config.data, "");
  EXPECT_EQ(load_config(Words{good}).config.data, "some folder/a#b.txt");
  EXPECT_EQ(loaded.config.start, "# no\n");
  EXPECT_EQ(loaded.config.out_dir, "a = b");
  EXPECT_EQ(loaded.config.tokenizer, "sentencepiece:4096");
  EXPECT_EQ(load_config(Words{"--start=\\n --data=x"}).config.start, "\\n --data=x");
}

TEST_F(LoadConfig, KeysOfNanoGptThatMeanNothingHere) {
  const std::string file = write("toy.cfg", "compile = False\nwandb_project = 'x'\nbackend = nccl\n");
  const LoadedConfig loaded = load_config(Words{file, "--wandb_log", "False", "--n_layer=4"});
  EXPECT_EQ(loaded.notices.size(), 5U);
  EXPECT_EQ(loaded.notices.front(), "Ignored: compile = False (nothing is compiled at run time)");
  EXPECT_THAT(loaded.notices[3], HasSubstr("Ignored: wandb_log = False"));
  EXPECT_EQ(loaded.notices.back(), "Overriding: n_layer = 4");
}

TEST_F(LoadConfig, TheConfigsOfTheExamplesAreValid) {
  int seen = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(TESSERA_SOURCE_DIR "/examples")) {
    if (entry.path().extension() != ".cfg") continue;
    ++seen;
    EXPECT_NO_THROW(load_config(Words{entry.path().string()})) << entry.path();
  }
  EXPECT_GE(seen, 5);
}

TEST_F(LoadConfig, ValuesOfEveryKind) {
  const Config config =
      load_config(Words{"--loss_scale=1024", "--device=cuda:1", "--dtype=float16", "--schedule=linear", "--seed=+7",
                        "--learning_rate=.5e-2", "--tie_embeddings=0", "--kv_heads=2"})
          .config;
  EXPECT_FALSE(config.dynamic_loss_scale());
  EXPECT_EQ(config.first_loss_scale(), 1024);
  EXPECT_EQ(config.device, "cuda:1");
  EXPECT_EQ(config.dtype, DType::f16);
  EXPECT_EQ(config.effective_schedule(), Schedule::Kind::linear);
  EXPECT_EQ(config.seed, 7);
  EXPECT_EQ(config.learning_rate, 5e-3);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(config.effective_kv_heads(), 2);
  EXPECT_EQ(Config().effective_kv_heads(), 6);
  EXPECT_EQ(Config().effective_lr_decay_iters(), 5000);
  EXPECT_EQ(Config().effective_checkpoint_interval(), 250);
  EXPECT_EQ(load_config(Words{"--decay_lr=False"}).config.effective_schedule(), Schedule::Kind::constant);
  EXPECT_EQ(load_config(Words{"--dtype=bfloat16"}).config.effective_residual_dtype(), DType::f32);
  EXPECT_EQ(load_config(Words{"--dtype=bfloat16", "--residual_dtype=compute"}).config.effective_residual_dtype(),
            DType::bf16);
  EXPECT_EQ(load_config(Words{"--dtype=float16", "--residual_dtype=compute"}).config.effective_residual_dtype(),
            DType::f32);
  EXPECT_EQ(load_config(Words{"--dtype=float64"}).config.effective_residual_dtype(), DType::f64);
  EXPECT_TRUE(load_config(Words{"--dtype=float16"}).config.dynamic_loss_scale());
  EXPECT_EQ(load_config(Words{"--dtype=float16", "--init_scale=128"}).config.first_loss_scale(), 128);
  EXPECT_EQ(load_config(Words{"--dtype=float16", "--loss_scale=off"}).config.first_loss_scale(), 1);
  for (const char* dtype : {"--dtype=float32", "--dtype=bfloat16"}) {
    EXPECT_FALSE(load_config(Words{dtype}).config.dynamic_loss_scale());
    EXPECT_EQ(load_config(Words{dtype}).config.first_loss_scale(), 1);
  }
}

TEST_F(LoadConfig, IntegersMayBeProducts) {
  const std::string file = write("gpt2.cfg", "gradient_accumulation_steps = 5 * 8 # as nanoGPT\nbatch_size = 4*16\n");
  const Config config = load_config(Words{file, "--block_size=2 * 3 * +4"}).config;
  EXPECT_EQ(config.gradient_accumulation_steps, 40);
  EXPECT_EQ(config.batch_size, 64);
  EXPECT_EQ(config.block_size, 24);
}

TEST(LoadErrors, AreUsageErrors) {
  EXPECT_THROW(load_config(Words{"--n_layer=4x"}), UsageError);
  EXPECT_THROW(load_config(Words{"--n_head=5"}), UsageError);
  EXPECT_THROW(parse_config_text("x", "f"), UsageError);
}

struct BadWords {
  Words words;
  std::string message;
};

class BadCommandLine : public ::testing::TestWithParam<BadWords> {};

TEST_P(BadCommandLine, GetsOneSentence) {
  EXPECT_THAT(message_of([] { load_config(GetParam().words); }), HasSubstr(GetParam().message));
}

const BadWords kBadWords[] = {
    {{"--n_layer=4x"}, "--n_layer: n_layer wants an integer from 1 to 10000, got 4x"},
    {{"--n_layer=5 * "}, "n_layer wants an integer from 1 to 10000, got \"5 * \""},
    {{"--n_layer=*5"}, "n_layer wants an integer from 1 to 10000, got *5"},
    {{"--n_layer=200 * 200"}, "n_layer wants an integer from 1 to 10000, got 200 * 200"},
    {{"--max_iters=4294967296 * 4294967296"}, "max_iters wants an integer from 1 to 1e15"},
    {{"--seed=9223372036854775806"}, "seed wants an integer from 0 to 1e15"},
    {{"--softcap=1e-300"}, "softcap = 1e-300 is too small to divide by; set it to 1e-30 or more, or to 0 for none"},
    {{"--softcap=1e300"}, "softcap wants a number from 0 to 1000000"},
    {{"--dataset=shakespeare_char"}, "unknown key dataset; data names the text itself, as in data = input.txt"},
    {{"--n_layer=0"}, "n_layer wants an integer from 1 to 10000, got 0"},
    {{"--n_layer=-1"}, "got -1"},
    {{"--n_layer", "-1"}, "got -1"},
    {{"--n_layer=4.0"}, "got 4.0"},
    {{"--n_layer=1e1"}, "got 1e1"},
    {{"--n_layer="}, "n_layer wants an integer from 1 to 10000, got \"\""},
    {{"--n_layer= 4"}, "got \" 4\""},
    {{"--n_layer=0x4"}, "got 0x4"},
    {{"--n_layer=99999999999999999999999"}, "got 99999999999999999999999"},
    {{"--max_iters=9223372036854775807"}, "max_iters wants an integer from 1 to 1e15"},
    {{"--n_layer"}, "--n_layer needs a value: write --n_layer=VALUE"},
    {{"--n_layer", "--bias=True"}, "got --bias=True"},
    {{"--learning_rate=fast"}, "learning_rate wants a number, above 0, got fast"},
    {{"--learning_rate=0"}, "learning_rate wants a number, above 0"},
    {{"--learning_rate=nan"}, "got nan"},
    {{"--learning_rate=inf"}, "got inf"},
    {{"--learning_rate=1e999"}, "got 1e999"},
    {{"--learning_rate=1e-3,"}, "got 1e-3,"},
    {{"--dropout=1"}, "dropout wants a number at least 0 and below 1"},
    {{"--dropout=-0.1"}, "got -0.1"},
    {{"--top_p=0"}, "top_p wants a number above 0 and at most 1"},
    {{"--bias=yes"}, "bias wants True or False, got yes"},
    {{"--norm=LayerNorm"}, "norm wants layernorm | rmsnorm, got LayerNorm"},
    {{"--dtype=bf16"}, "dtype wants float32 | bfloat16 | float16 | float64"},
    {{"--device=gpu"}, "device wants auto | cpu | cuda | cuda:N"},
    {{"--device=cuda:"}, "got cuda:"},
    {{"--device=cuda:-1"}, "got cuda:-1"},
    {{"--tokenizer=sentencepiece"}, "tokenizer wants char | byte | sentencepiece:N"},
    {{"--tokenizer=sentencepiece:299"}, "from 300 to 1000000, got sentencepiece:299"},
    {{"--loss_scale=0"}, "loss_scale wants dynamic, off or a number above 0"},
    {{"--loss_scale=1e39"}, "loss_scale wants"},
    {{"--growth_factor=1"}, "growth_factor wants"},
    {{"--backoff_factor=1"}, "backoff_factor wants"},
    {{"--hysteresis=0"}, "hysteresis wants"},
    {{"--initial_loss_scale=8"}, "did you mean init_scale?"},
    {{"--min_scale=2", "--init_scale=1"}, "init_scale = 1 lies outside of min_scale = 2 to max_scale"},
    {{"--max_scale=4"}, "init_scale = 65536 lies outside of min_scale = 0 to max_scale = 4; choose it between them"},
    {{"--out_dir="}, "out_dir wants a path"},
    {{"--nlayer=4"}, "--nlayer: unknown key nlayer; did you mean n_layer?"},
    {{"--n_layre=4"}, "did you mean n_layer?"},
    {{"--batch-size=4"}, "did you mean batch_size?"},
    {{"--N_LAYER=4"}, "did you mean n_layer?"},
    {{"--lr=4"}, "did you mean learning_rate?"},
    {{"--learning=4"}, "did you mean learning_rate?"},
    {{"--max_steps", "4"}, "did you mean max_iters?"},
    {{"--n_lay=4"}, "unknown key n_lay"},
    {{"--quagga=4"}, "unknown key quagga; `tessera config` lists every key"},
    {{"n_layer=4"}, "expected --key=value, got n_layer=4; did you mean --n_layer=4?"},
    {{"-n=4"}, "settings are written --key=value, got -n=4"},
    {{"/no/such.cfg"}, "cannot read the config file /no/such.cfg: No such file or directory"},
    {{"/"}, "/ is a folder without a config.cfg"},
    {{"/dev/zero"}, "larger than 1 MiB"},
    {{"a.cfg", "b.cfg"}, "expected one config file, got a.cfg and b.cfg"},
    {{"--n_head=5"}, "n_head = 5 does not divide n_embd = 384; set n_embd to a multiple of n_head, such as 385"},
    {{"--n_head=1"}, "n_embd / n_head = 384 is the head size, which may be at most 256; set n_head to at least 2"},
    {{"--kv_heads=4"}, "kv_heads = 4 does not divide n_head = 6"},
    {{"--n_embd=42", "--position=rotary"}, "position = rotary turns pairs of channels, but n_embd / n_head = 7"},
    {{"--max_iters=50"}, "warmup_iters = 100 is longer than the whole training, max_iters = 50"},
    {{"--lr_decay_iters=50"}, "lr_decay_iters = 50 ends before the warm-up does"},
    {{"--min_lr=1"}, "min_lr = 1 is above learning_rate = 0.001"},
    {{"--dtype=float64", "--device=cuda:0"}, "dtype = float64 computes on the CPU only, but device = cuda:0"},
    {{"--block_size=1000000000000"}, "is more than any memory holds"},
    {{"--max_iters=1000000000000000"}, "are more tokens than can be counted"},
};

INSTANTIATE_TEST_SUITE_P(Table, BadCommandLine, ::testing::ValuesIn(kBadWords));

struct BadText {
  std::string text, message;
};

class BadFile : public ::testing::TestWithParam<BadText> {};

TEST_P(BadFile, GetsFileAndLine) {
  LoadedConfig loaded;
  EXPECT_THAT(message_of([&] { apply_config_text(loaded, GetParam().text, "toy.cfg"); }),
              HasSubstr(GetParam().message));
}

const BadText kBadTexts[] = {
    {"n_layer = 4\nn_headd = 4\n", "toy.cfg:2: unknown key n_headd; did you mean n_head?"},
    {"\n\nn_layer = four", "toy.cfg:3: n_layer wants an integer from 1 to 10000, got four"},
    {"n_layer = # none", "toy.cfg:1: n_layer wants an integer from 1 to 10000, got \"\""},
    {"n_layer = 4# four", "got \"4# four\""},
    {"batch_size = 5 + 8", "got 5 + 8"},
    {"import time", "toy.cfg:1: expected `key = value`, found: import time"},
    {"[model]", "found: [model]"},
    {"= 4", "found: = 4"},
    {"n_layer 4", "found: n_layer 4"},
    {"n_layer = 4\nn_layer = 5", "toy.cfg:2: n_layer is already set in line 1; remove one of them"},
    {"start = \"abc", "toy.cfg:1: start has an opening \" and no closing one"},
    {"start = 'abc\\'", "start has an opening ' and no closing one"},
    {"start = 'a' b", "start has something after its closing quote: b"},
    {"n layer = 4", "unknown key n layer; did you mean n_layer?"},
    {"--n_layer = 4", "did you mean n_layer?"},
    {std::string("\0\1\2", 3), "toy.cfg:1: expected `key = value`, found: ???"},
    {std::string(5000, 'x'), "found: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"},
    {std::string(5000, 'x') + " = 1", "toy.cfg:1: unknown key"},
};

INSTANTIATE_TEST_SUITE_P(Table, BadFile, ::testing::ValuesIn(kBadTexts));

TEST(EffectiveConfig, ReadsBackAsTheSameSettings) {
  const LoadedConfig first =
      load_config(Words{"--start= \"quoted\" # \\n\n\t\r", "--data=a b#c", "--epsilon=3e-9", "--seed=12345678901234",
                        "--norm=rmsnorm", "--learning_rate=0.1", "--bias=1"});
  LoadedConfig second;
  apply_config_text(second, effective_config(first), "config.cfg");
  EXPECT_EQ(second.config.start, first.config.start);
  EXPECT_EQ(second.config.norm, Norm::Kind::rms);
  for (const OptionSection& section : option_sections()) {
    for (const Option& option : section.options) {
      EXPECT_EQ(option.text(second.config), option.text(first.config)) << option.name;
      EXPECT_TRUE(second.origins.contains(option.name)) << option.name;
    }
  }
  EXPECT_THAT(effective_config(first), HasSubstr("epsilon = 3e-09                        # command line\n"));
  EXPECT_THAT(effective_config(second), HasSubstr("n_layer = 6                            # config.cfg:"));
  EXPECT_THAT(effective_config({}), HasSubstr("n_layer = 6                            # default\n"));
}

TEST(QuoteConfigValue, KeepsEveryText) {
  for (const std::string value :
       {"", "a", " a", "a ", "#", "a #b", "'", "\"", "\\", "\\n", "\n", "a\\", "\\d", "\t\r", "ü"}) {
    const auto lines = parse_config_text("k = " + quote_config_value(value) + "  # comment", "f");
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].value, value);
  }
}

}  // namespace
}  // namespace tessera
