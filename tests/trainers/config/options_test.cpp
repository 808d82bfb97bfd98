#include "trainers/config/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"
#include "trainers/config/describe.h"

namespace tessera {
namespace {

using testing::HasSubstr;

TEST(Options, EveryRowIsWholeAndItsDefaultIsAccepted) {
  for (const OptionSection& section : option_sections()) {
    for (const Option& option : section.options) {
      EXPECT_EQ(find_option(option.name), &option);
      EXPECT_EQ(find_ignored_key(option.name), nullptr);
      EXPECT_FALSE(option.help.empty() || option.accepts.empty()) << option.name;
      Config config;
      const bool paths = option.name == "data";
      EXPECT_TRUE(paths || option.assign(config, option.text(Config()))) << option.name;
      for (const std::string& synonym : option.synonyms) {
        EXPECT_EQ(find_option(synonym), nullptr) << synonym;
        EXPECT_EQ(nearest_option(synonym), option.name);
      }
      EXPECT_THAT(options_help(), HasSubstr("--" + option.name + " "));
    }
  }
}

TEST(Options, ThePageInTheDocsIsCurrent) {
  EXPECT_EQ(read_all(TESSERA_SOURCE_DIR "/docs/config.md"), options_markdown())
      << "run: build/release/tessera config --markdown > docs/config.md";
}

}  // namespace
}  // namespace tessera
