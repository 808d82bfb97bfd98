#include "framework/data/text.h"

#include <gmock/gmock.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Text, ReadsOneFile) {
  const TemporaryFolder folder;
  const Text text = read_text(folder.write("a.txt", "héllo").string());
  EXPECT_THAT(text.parts(), ElementsAre("héllo"));
  EXPECT_THAT(text.notices, IsEmpty());
}

TEST(Text, AByteOrderMarkIsNoPartOfIt) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.txt", "\xEF\xBB\xBFhi\xEF\xBB\xBF").string();
  const Text text = read_text(path);
  EXPECT_THAT(text.parts(), ElementsAre("hi\xEF\xBB\xBF"));
  EXPECT_THAT(text.notices, ElementsAre(path + ": left out 1 byte order marks, at the start of: a.txt"));
  EXPECT_THAT(read_text(path, TextRule::any_bytes).notices, IsEmpty());
}

TEST(Text, ReadsTheTextFilesOfAFolderInOrder) {
  const TemporaryFolder folder;
  folder.write("b", "second");
  folder.write("a", "first");
  folder.write("B", "zeroth");
  folder.write("x.dat", std::string("\0\0\0\2", 4));
  folder.write("latin1.txt", "caf\xe9");
  folder.write(".hidden", "no");
  std::filesystem::create_symlink("a", folder / "a.u8");
  std::filesystem::create_directory(folder / "inner");
  folder.write("inner/c", "no");
  const Text text = read_text(folder.path().string());
  EXPECT_THAT(text.parts(), ElementsAre("zeroth", "first", "second"));
  const std::string at = folder.path().string() + ": ";
  EXPECT_THAT(text.notices,
              ElementsAre(at + "left out 1 folders: inner", at + "left out 1 hidden: .hidden",
                          at + "left out 1 links: a.u8", at + "left out 2 that are not UTF-8 text: latin1.txt, x.dat"));
}

TEST(Text, ReadsTheFilesOfAGlobOnce) {
  const TemporaryFolder folder;
  folder.write("b.txt", "b");
  folder.write("c.txt", "c");
  folder.write("other", "no");
  std::filesystem::create_symlink("c.txt", folder / "a.txt");
  std::filesystem::create_symlink("nowhere", folder / "d.txt");
  const Text text = read_text((folder / "*.txt").string());
  EXPECT_THAT(text.parts(), ElementsAre("b", "c"));
  EXPECT_THAT(text.notices, ElementsAre(HasSubstr("left out 1 that are no regular files: d.txt"),
                                        HasSubstr("left out 1 that repeat another file: a.txt")));
}

TEST(Text, AFileMayHaveTheNameOfAPattern) {
  const TemporaryFolder folder;
  EXPECT_THAT(read_text(folder.write("odd[1].txt", "x").string()).parts(), ElementsAre("x"));
}

TEST(Text, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const std::string path = folder.write("latin1.txt", "caf\xe9!").string();
  EXPECT_EQ(message_of([&] { read_text(path); }),
            path + ": is not UTF-8 text (byte 0xe9 at offset 3); convert it with iconv, or set tokenizer = byte");
  EXPECT_THAT(read_text(path, TextRule::any_bytes).parts(), ElementsAre("caf\xe9!"));
  EXPECT_THAT(message_of([&] { read_text(folder.write("zero", std::string("a\0", 2)).string()); }),
              HasSubstr("byte 0x00 at offset 1"));
  EXPECT_THAT(message_of([&] { read_text((folder / "none").string()); }), HasSubstr("No such file"));
  EXPECT_THAT(message_of([&] { read_text((folder / "*.none").string()); }),
              HasSubstr("no file matches; name a text file, a glob, a folder or a token file"));
  EXPECT_THAT(message_of([&] { read_text((folder / "z*").string()); }), HasSubstr("holds no text"));
  EXPECT_THAT(message_of([&] { read_text(folder.write("empty", "").string()); }), HasSubstr("empty: holds no text"));
  EXPECT_THAT(message_of([&] { read_text(""); }), HasSubstr("no source is given"));
  std::filesystem::create_directory(folder / "inner");
  EXPECT_THAT(message_of([&] { read_text((folder / "inner").string()); }),
              HasSubstr("there are no files to read here"));
}

TEST(Text, NamesAtMostSixOfManyLeftOut) {
  const TemporaryFolder folder;
  folder.write("text", "x");
  for (int i = 10; i < 40; ++i) folder.write(std::to_string(i), "\xff");
  const Text text = read_text(folder.path().string());
  EXPECT_THAT(text.notices, ElementsAre(testing::AllOf(HasSubstr("left out 30 that"), HasSubstr("10, 11"),
                                                       testing::EndsWith("15 and 24 more"))));
}

}  // namespace
}  // namespace tessera
